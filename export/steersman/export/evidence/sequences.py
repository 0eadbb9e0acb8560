"""Recurrent policies over many steps: the graph carries its own state, SB3 its own."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from steersman.bundle.session import PolicySession
from steersman.bundle.specs import BoxAction
from steersman.export.evidence.scale import action_scale
from steersman.export.policies.inputs import Inputs
from steersman.export.policies.oracle import Oracle

STEPS = 200
COPIES = 8
RESET_SHARE = 0.02
"""Chance that an episode begins at a step, so that resets fall into the middle of batches."""


@dataclass(frozen=True, slots=True)
class SequenceParity:
    """What sequences showed.

    Attributes:
        steps: Steps compared, all copies together.
        disagreements: Choices that differ, ties left out.
        max_action_error: Largest difference of a continuous action, as a share of the largest of 1, the
            action and half its range; infinite where one is not a number.
    """

    steps: int
    disagreements: int
    max_action_error: float


def check_sequences(
    session: PolicySession, oracle: Oracle, inputs: Inputs, tie_gap: float, *, seed: int = 0
) -> SequenceParity:
    """Runs `COPIES` sequences of `STEPS` steps side by side, each with resets of its own."""
    rng = np.random.default_rng(seed)
    starts = rng.random((STEPS, COPIES)) < RESET_SHARE
    starts[0] = True
    ours = {s.name: np.zeros((COPIES, *s.shape), s.dtype) for s in session.contract.state}
    theirs = dict(ours)
    disagreements, worst = 0, 0.0
    for step in range(STEPS):
        rows = inputs.take((np.arange(COPIES) * STEPS + step) % len(inputs))
        fed = replace(rows, state=ours, episode_start=starts[step])
        action, *following = session.run(("action", *(f"next_state/{name}" for name in ours)), fed.feeds())
        answer = oracle.answer(replace(rows, state=theirs, episode_start=starts[step]))
        expected = answer.outputs["action"]
        ours = dict(zip(ours, following, strict=True))
        theirs = {name: answer.outputs[f"next_state/{name}"] for name in theirs}
        if isinstance(session.contract.action, BoxAction):
            apart = np.abs(action - expected) / action_scale(expected, session.contract.action)
            worst = max(worst, float(np.nan_to_num(apart, nan=np.inf).max()))
        else:
            differs = (action != expected).reshape(COPIES, -1).any(axis=1)
            disagreements += int((differs & (answer.margin >= tie_gap)).sum())
    return SequenceParity(STEPS * COPIES, disagreements, worst)
