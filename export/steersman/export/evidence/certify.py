"""Writing the certificate: the rows that any host can re-run, with SB3's answers and fair tolerances."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.certificate import MAX_BYTES, MAX_ROWS, Certificate, run_certificate
from steersman.bundle.manifest import Tolerance
from steersman.bundle.session import PolicySession
from steersman.bundle.specs import Contract
from steersman.export.errors import ExportError
from steersman.export.evidence.parity import Array, Inputs, draw_inputs, draw_noise
from steersman.export.evidence.states import States, pick
from steersman.export.policies.oracle import Answers, Oracle

CLEAR = 0.5
"""Least margin, in nats, of the sampled choices: noise is drawn again for rows that are closer, so that a
sampled choice checks the arithmetic, not the last bits. That sampling follows its law is tested elsewhere."""
REDRAWS = 60
NEAR_TIES = 0.1
"""Share of rows whose two best choices are close, though no ties."""
BOUNDARY = 0.2
"""Share of rows at most from the edges of the observation space."""
EXACT_RTOL, EXACT_HEAD_ROOM = 1e-5, 10.0
"""Other CPUs sum in another order: fp32 may differ from SB3 by ten times what it does here."""
INT8_RTOL, INT8_HEAD_ROOM = 1e-2, 2.0
"""An 8-bit variant differs mostly by its rounding, which is the same everywhere; twice that is plenty."""
LEAST_ATOL = 1e-5
FLIP_ROOM = 0.01
"""Share of decisions that may differ beside those that do here: the certificate has near ties on purpose."""


def write_certificate(
    oracle: Oracle, session: PolicySession, states: States, tie_gap: float, rng: np.random.Generator
) -> Certificate:
    """Picks the rows and asks SB3 about them."""
    observations = _pick_observations(session, states, tie_gap, rng)
    inputs = draw_inputs(observations, session.contract, rng)
    inputs, answers = _with_clear_noise(oracle, inputs, session.contract, rng)
    tie = (answers.margin < tie_gap) | (answers.sampled_margin < CLEAR / 10)
    expected = {name: answers.outputs[name] for name in session.contract.outputs}
    return Certificate(inputs.feeds(session.contract), expected, tie)


def measure_tolerance(session: PolicySession, certificate: Certificate, *, exact: bool) -> Tolerance:
    """What this variant's answers may differ by on another host, from what they differ by here.

    Whether the variant is good enough is for the gates to say. The tolerance only lets another host tell
    that it computes the same function: with `exact`, rounding apart; otherwise quantization included.

    Raises:
        ExportError: Rows of this variant influence each other, or its answers are not finite where SB3's are.
    """
    rtol, head_room = (EXACT_RTOL, EXACT_HEAD_ROOM) if exact else (INT8_RTOL, INT8_HEAD_ROOM)
    result = run_certificate(session, certificate, Tolerance(atol=np.inf, flip_rate=1.0))
    if result.failures or not np.isfinite(result.max_error):
        raise ExportError(f"it fails its certificate: {(*result.failures, 'infinite answers')[0]}")
    flips = result.flips / result.rows
    return Tolerance(
        atol=max(LEAST_ATOL, head_room * _beyond(session, certificate, rtol)),
        rtol=rtol,
        flip_rate=0.0 if exact else min(1.0, head_room * flips + FLIP_ROOM),
    )


def _beyond(session: PolicySession, certificate: Certificate, rtol: float) -> float:
    """By how much numbers are further from the expected ones than the relative tolerance alone allows."""
    names = [name for name, array in certificate.expected.items() if array.dtype.kind == "f"]
    beyond = 0.0
    for name, found in zip(names, session.run(names, certificate.inputs), strict=True):
        expected = certificate.expected[name].astype(np.float64)
        compared = np.isfinite(expected)
        if expected.ndim == 1:
            compared &= ~certificate.tie
        error = np.abs(found[compared] - expected[compared]) - rtol * np.abs(expected[compared])
        beyond = max(beyond, float(error.max(initial=0.0)))
    return beyond


def _pick_observations(
    session: PolicySession, states: States, tie_gap: float, rng: np.random.Generator
) -> Array:
    rows = _row_limit(session.contract)
    boundary = pick(states.boundary, int(BOUNDARY * rows), rng)
    near = _near_ties(session, states.evaluation, tie_gap, int(NEAR_TIES * rows))
    usual = pick(states.evaluation, rows - len(boundary) - len(near), rng)
    chosen = np.concatenate([near, boundary, usual])
    return np.ascontiguousarray(chosen[rng.permutation(len(chosen))])


def _row_limit(contract: Contract) -> int:
    """Rows that fit, inputs and outputs counted as 8 bytes an element."""
    wide = sum(spec.size for spec in contract.observations) + 4 * contract.mask_width + 32
    if contract.noise:
        wide += 4 * contract.noise.width
    return max(16, min(MAX_ROWS, MAX_BYTES // (8 * wide)))


def _near_ties(session: PolicySession, observations: Array, tie_gap: float, most: int) -> Array:
    if session.contract.mask_width < 2:
        return observations[:0]
    feeds = session.feeds({session.contract.observations[0].input_name: observations})
    (log_probs,) = session.run(("distribution",), feeds)
    second, best = np.partition(log_probs.astype(np.float64), -2, axis=1)[:, -2:].T
    gaps = best - second
    order = np.argsort(gaps, kind="stable")
    return np.asarray(observations[order[gaps[order] >= tie_gap][:most]])


def _with_clear_noise(
    oracle: Oracle, inputs: Inputs, contract: Contract, rng: np.random.Generator
) -> tuple[Inputs, Answers]:
    noise: NDArray[np.float32] = inputs.noise.copy()
    answers = oracle.answer(inputs.observations, noise, inputs.action_mask)
    for _ in range(REDRAWS):
        unclear = answers.sampled_margin < CLEAR
        if not unclear.any():
            break
        noise[unclear] = draw_noise(int(unclear.sum()), contract, rng)
        answers = oracle.answer(inputs.observations, noise, inputs.action_mask)
    return Inputs(inputs.observations, noise, inputs.action_mask), answers
