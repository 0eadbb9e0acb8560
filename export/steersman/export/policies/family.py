"""The families of policies: what one has to say about itself to be exported and proven equal.

A family is one way of coming from features to actions (actor-critic, Q-values, squashed Gaussian, ...). Each
lives in a file of its own, which holds both its graph and the question to SB3, so that the two are read
side by side. The graph writes the arithmetic out; the answers come from SB3's own objects, never from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from steersman.bundle.specs import ActionSpec, Distribution, NoiseSpec, StateSpec
from steersman.export.policies.inputs import Inputs
from steersman.export.policies.preparation import Preparation

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Traits:
    """The part of a contract that a family decides.

    Attributes:
        distribution: What the output `distribution` holds.
        outputs: Names of the graph's outputs, in order; `next_state/<name>` last.
        noise: What sampling takes; None where there is no distribution.
        state: Recurrent state.
        inside: What the graph does after the networks, in order, for people.
    """

    distribution: Distribution
    outputs: tuple[str, ...]
    noise: NoiseSpec | None = None
    state: tuple[StateSpec, ...] = ()
    inside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answers:
    """SB3's answers for N rows.

    Attributes:
        outputs: By the names of the graph's outputs, each [N, ...].
        margin: [N] float64, the best choice's score less the second best's, the least over segments; infinite
            where there is nothing to choose.
        sampled_margin: [N] float64, the same with the noise of the sampled action added.
    """

    outputs: Mapping[str, Array]
    margin: NDArray[np.float64]
    sampled_margin: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Acted:
    """Actions as the environment takes them, [N, ...], and the state that follows, by name."""

    actions: Array
    state: Mapping[str, Array] = field(default_factory=dict)


class Family(Protocol):
    """One kind of policy. Implementations are made of a `SavedPolicy`.

    Attributes:
        policy: SB3's own object, which all answers come from.
    """

    policy: Any

    @property
    def traits(self) -> Traits:
        """Its part of the contract."""
        ...

    def graph(self, preparation: Preparation, action: ActionSpec) -> nn.Module:
        """The module to export.

        It takes the contract's inputs by position, in the order of `Contract.inputs`, and gives the
        outputs of `traits.outputs`, in their order.
        """
        ...

    def act(self, prepared: Any, inputs: Inputs, *, sampled: bool) -> Acted:
        """What SB3 does: `policy.predict`, or where it takes no mask its distribution or Q-values, masked.

        Args:
            prepared: The observations as SB3 takes them, after `Preparation`.
            inputs: The rows; `action_mask`, `state` and `episode_start` of it are used.
            sampled: Draws with torch's generator; otherwise greedy.
        """
        ...

    def answer(self, prepared: Any, inputs: Inputs) -> Answers:
        """Every output of the graph, by SB3's own objects, sampling with `inputs.noise`."""
        ...
