"""Policies that many tests look at; each is made once, and its graph too where one is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from steersman.export.policies.inputs import Inputs
from unit.export.policies.made import (
    ACTIONS,
    OBSERVATIONS,
    Array,
    Made,
    assert_alone,
    assert_computed,
    assert_same,
    make,
    untrained,
)
from unit.export.policies.off_policy import off_policy

SLOW_OBSERVATIONS = frozenset({"image", "mixed", "camera and speed", "everything"})


@dataclass(frozen=True)
class Case:
    """A policy, known by its name.

    Attributes:
        observation: A key of `OBSERVATIONS`.
        action: A key of `ACTIONS`.
        policy: SB3's name of it or a class; empty for the usual one.
        exported: Whether its graph is looked at besides its module.
    """

    name: str
    algorithm: Any = field(compare=False)
    observation: str = field(default="flat", compare=False)
    action: str = field(default="arm", compare=False)
    policy: Any = field(default="", compare=False)
    policy_kwargs: dict[str, Any] = field(default_factory=dict, compare=False)
    exported: bool = field(default=False, compare=False)

    @property
    def rows(self) -> int:
        """Rows enough to compare; networks of images take their time."""
        return 60 if self.observation in SLOW_OBSERVATIONS else 500


@cache
def made_of(case: Case) -> Made:
    """What becomes of a case's policy."""
    build: Any = untrained if issubclass(case.algorithm, OnPolicyAlgorithm) else off_policy
    spaces = OBSERVATIONS[case.observation](), ACTIONS[case.action]()
    return make(build(case.algorithm, *spaces, case.policy, **case.policy_kwargs))


def named(cases: tuple[Case, ...], name: str) -> Made:
    """What becomes of one of several cases."""
    return made_of(next(case for case in cases if case.name == name))


def each(cases: tuple[Case, ...], *, exported: bool = False) -> pytest.MarkDecorator:
    """A test of every case, or only of those that are exported."""
    chosen = [case for case in cases if case.exported or not exported]
    return pytest.mark.parametrize("case", chosen, ids=lambda case: case.name)


def assert_case(case: Case) -> None:
    """What a case computes is what SB3 answers; a graph's rows have the same bits in every company."""
    made, inputs = made_of(case), made_of(case).inputs(case.rows)
    assert_computed(made, inputs)
    if case.exported:
        assert_same(made, inputs)
        assert_alone(made, made.inputs(11 if case.observation in SLOW_OBSERVATIONS else 67))


def forms(case: Case) -> list[Callable[[Inputs], dict[str, Array]]]:
    """What computes a case's outputs: its module, and its graph if it is exported."""
    made = made_of(case)
    return [made.compute, made.run] if case.exported else [made.compute]


def unmasked(made: Made, rows: int, seed: int = 1) -> Inputs:
    """Rows of which none has a mask of its own."""
    inputs = made.inputs(rows, seed)
    return masked(inputs, np.True_) if made.contract.mask_width else inputs


def masked(inputs: Inputs, allowed: np.bool_) -> Inputs:
    """The same rows with everything allowed, or nothing."""
    assert inputs.action_mask is not None
    return replace(inputs, action_mask=np.full(inputs.action_mask.shape, allowed))
