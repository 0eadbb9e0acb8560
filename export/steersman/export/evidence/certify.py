"""Writing the certificate: the rows that any host can re-run, with SB3's answers and fair tolerances."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.certificate import MAX_BYTES, MAX_ROWS, Certificate, run_certificate
from steersman.bundle.manifest import Tolerance
from steersman.bundle.session import PolicySession
from steersman.bundle.specs import BoxAction, Contract, ObservationSpec, StateSpec
from steersman.export.errors import ExportError
from steersman.export.evidence.comparison import all_feeds
from steersman.export.evidence.comparison import answers as ask
from steersman.export.evidence.states import States, pick
from steersman.export.observations import Array
from steersman.export.policies.family import Answers
from steersman.export.policies.inputs import Inputs, complete, draw_inputs, draw_noise, join_inputs
from steersman.export.policies.oracle import Oracle
from steersman.export.policies.segments import margins

CLEAR = 0.5
"""Least margin, in nats, of the sampled choices: noise is drawn again for rows that are closer, so that a
sampled choice checks the arithmetic, not the last bits. That sampling follows its law is tested elsewhere."""
REDRAWS = 60
LEAST_ROWS = 16
"""Rows of a certificate at least, however large its observations are."""
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
    rows = _pick_rows(session, states, tie_gap, rng)
    inputs = draw_inputs(rows, session.contract, rng)
    if session.contract.distribution == "categorical":
        inputs = _with_clear_noise(inputs, oracle.answer(inputs), session.contract, rng)
    answers = oracle.answer(inputs)
    expected = {name: answers.outputs[name] for name in session.contract.outputs}
    tie = (answers.margin < tie_gap) | (answers.sampled_margin < CLEAR / 10)
    return Certificate(inputs.feeds(), expected, tie | _open(session, inputs, expected))


def _open(session: PolicySession, inputs: Inputs, expected: Mapping[str, Array]) -> NDArray[np.bool_]:
    """[N] choices that rounding alone decides: the graph, whose equality is shown by now, makes another."""
    names = [name for name in ("action", "sampled_action") if name in expected]
    if isinstance(session.contract.action, BoxAction):
        return np.zeros(len(inputs), np.bool_)
    differs = [
        (found != expected[name]).reshape(len(inputs), -1).any(axis=1)
        for name, found in zip(names, ask(session, names, inputs.feeds()), strict=True)
    ]
    return np.asarray(np.any(differs, axis=0))


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
    if not names:  # the policy gives choices and nothing else
        return beyond
    for name, found in zip(names, session.run(names, certificate.inputs), strict=True):
        expected = certificate.expected[name].astype(np.float64)
        compared = np.isfinite(expected)
        if expected.ndim == 1:
            compared &= ~certificate.tie
        error = np.abs(found[compared] - expected[compared]) - rtol * np.abs(expected[compared])
        beyond = max(beyond, float(error.max(initial=0.0)))
    return beyond


def _pick_rows(session: PolicySession, states: States, tie_gap: float, rng: np.random.Generator) -> Inputs:
    contract = session.contract
    rows = _row_limit(contract)
    boundary = complete(pick(states.boundary, int(BOUNDARY * rows), rng), contract, rng)
    near = _near_ties(session, states.evaluation, tie_gap, int(NEAR_TIES * rows))
    usual = pick(states.evaluation, rows - len(boundary) - len(near), rng)
    chosen = join_inputs([complete(part, contract, rng) for part in (near, boundary, usual) if len(part)])
    return chosen.take(rng.permutation(len(chosen)))


def _row_limit(contract: Contract) -> int:
    """Rows that fit; beside observations and state, numbers are counted as 8 bytes each."""
    tensors: tuple[ObservationSpec | StateSpec, ...] = (*contract.observations, *contract.state)
    wide = sum(math.prod(spec.shape) * np.dtype(spec.dtype).itemsize for spec in tensors)
    wide += sum(math.prod(spec.shape) * 4 for spec in contract.state)  # the state that follows
    wide += 8 * (3 * contract.mask_width + 32 + (contract.noise.width if contract.noise else 0))
    return max(LEAST_ROWS, min(MAX_ROWS, MAX_BYTES // wide))


def _near_ties(session: PolicySession, inputs: Inputs, tie_gap: float, most: int) -> Inputs:
    """The rows whose closest choice is closest, ties left out."""
    contract = session.contract
    if contract.distribution not in {"categorical", "q_values"}:
        return inputs.take(slice(0))
    (scores,) = ask(session, ("distribution",), all_feeds(session, inputs))
    gaps = margins(scores.astype(np.float64), contract.action.mask_segments)
    order = np.argsort(gaps, kind="stable")
    usable = (gaps[order] >= tie_gap) & np.isfinite(gaps[order])
    return inputs.take(order[usable][:most])


def _with_clear_noise(
    inputs: Inputs, answers: Answers, contract: Contract, rng: np.random.Generator
) -> Inputs:
    """Draws the noise of every segment whose sampled choice is unclear again, some times."""
    assert inputs.noise is not None  # noqa: S101  a categorical policy has noise
    noise = inputs.noise.copy()
    log_probs = answers.outputs["distribution"].astype(np.float64)
    for _ in range(REDRAWS):
        perturbed = log_probs - np.log(-np.log(noise.astype(np.float64)))
        redrawn, first = draw_noise(len(noise), contract, rng), 0
        for width in contract.action.mask_segments:
            part = slice(first, first + width)
            unclear = margins(perturbed[:, part], (width,)) < CLEAR
            noise[unclear, part] = redrawn[unclear, part]
            first += width
    return replace(inputs, noise=noise)
