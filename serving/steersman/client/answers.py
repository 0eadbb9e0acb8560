"""From an `ActResponse` to a `Decision` or to `Decisions`."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Any

import numpy as np
from grpc import StatusCode
from numpy.typing import NDArray

from steersman.client.decision import (
    Decision,
    Decisions,
    Intervention,
    RowError,
    Source,
    action_of_row,
    not_nan,
)
from steersman.client.description import ActionSpec, PolicyDescription
from steersman.client.errors import ClientError
from steersman.client.failures import STATUS
from steersman.client.tensors import decode, malformed
from steersman.v1 import policy_pb2 as pb

_ID_BYTES = 16
_SOURCES: dict[int, Source] = {
    pb.SOURCE_UNSPECIFIED: Source.NONE,
    **{
        pb.Source.Value(f"SOURCE_{s.name}"): s
        for s in Source
        if s not in {"none", "local_fallback", "unknown"}
    },
}


def read_decision(answer: pb.ActResponse, description: PolicyDescription) -> Decision:
    """The answer to a call with one row.

    Raises:
        RowFailedError: The row has no action.
        ClientError: The answer breaks the wire contract.
    """
    if answer.errors:
        raise _read_error(answer.errors[0]).as_exception()
    spec = description.action
    actions = decode(answer.action, spec.dtype, (1, *spec.shape))
    try:
        return Decision(
            action=action_of_row(actions, 0),
            source=_SOURCES.get(answer.sources[0], Source.UNKNOWN),
            reason=answer.reasons[0],
            version=answer.versions[0],
            lane=answer.lanes[0],
            decision_id=answer.decision_ids,
            log_prob=_only(answer.log_probs),
            propensity=_only(answer.propensities),
            value=_only(answer.values),
            entropy=_only(answer.entropies),
            distribution=_read_distribution(answer, 0),
            interventions=_read_interventions(answer, spec),
            episode_token=answer.episode_tokens[0] if answer.episode_tokens else b"",
        )
    except IndexError as error:
        raise malformed("a column without an entry") from error


def _only(column: Sequence[float]) -> float | None:
    return not_nan(column[0]) if column else None


def read_decisions(answer: pb.ActResponse, description: PolicyDescription, rows: int) -> Decisions:
    """The answer to a call with N rows.

    Raises:
        ClientError: The answer breaks the wire contract.
    """
    spec = description.action
    _check_columns(answer, rows)
    ids = answer.decision_ids
    return Decisions(
        actions=decode(answer.action, spec.dtype, (rows, *spec.shape)),
        sources=tuple(_SOURCES.get(code, Source.UNKNOWN) for code in answer.sources),
        reasons=tuple(answer.reasons),
        versions=np.fromiter(answer.versions, np.int64, rows),
        lanes=tuple(answer.lanes),
        decision_ids=tuple(ids[i : i + _ID_BYTES] for i in range(0, len(ids), _ID_BYTES)),
        log_probs=_floats(answer.log_probs, rows),
        propensities=_doubles(answer.propensities, rows),
        values=_floats(answer.values, rows) if answer.values else None,
        entropies=_floats(answer.entropies, rows) if answer.entropies else None,
        distribution=_read_distribution(answer, slice(None)),
        episode_tokens=tuple(answer.episode_tokens) or (b"",) * rows,
        errors=tuple(_read_error(error) for error in answer.errors),
        interventions=_read_interventions(answer, spec),
    )


def _check_columns(answer: pb.ActResponse, rows: int) -> None:
    needed: list[Sized] = [answer.sources, answer.reasons, answer.versions, answer.lanes]
    optional: list[Sized] = [answer.log_probs, answer.propensities, answer.values, answer.entropies]
    optional.append(answer.episode_tokens)
    lengths = {len(column) for column in needed} | {len(column) for column in optional if column}
    if lengths != {rows} or len(answer.decision_ids) != rows * _ID_BYTES:
        raise malformed(f"columns of {sorted(lengths)} entries for {rows} rows")


def _floats(column: Sequence[float], rows: int) -> NDArray[np.float32]:
    return np.fromiter(column, np.float32, rows) if column else np.full(rows, np.nan, np.float32)


def _doubles(column: Sequence[float], rows: int) -> NDArray[np.float64]:
    return np.fromiter(column, np.float64, rows) if column else np.full(rows, np.nan)


def _read_distribution(answer: pb.ActResponse, rows: int | slice) -> NDArray[Any] | None:
    return decode(answer.distribution)[rows] if answer.HasField("distribution") else None


def _read_error(error: pb.RowError) -> RowError:
    code = STATUS.get(error.code, StatusCode.UNKNOWN)
    return RowError(error.row, error.reason, error.message, code, error.retryable)


def _read_interventions(answer: pb.ActResponse, spec: ActionSpec) -> tuple[Intervention, ...]:
    if not answer.interventions:
        return ()
    return tuple(_read_intervention(item, spec) for item in answer.interventions)


def _read_intervention(item: pb.Intervention, spec: ActionSpec) -> Intervention:
    return Intervention(
        row=item.row,
        layer=item.layer,
        name=item.name,
        reason=item.reason,
        before=decode(item.before, spec.dtype, spec.shape) if item.HasField("before") else None,
        after=decode(item.after, spec.dtype, spec.shape) if item.HasField("after") else None,
        margin=not_nan(item.margin),
    )


def failed_batch(error: ClientError, spec: ActionSpec) -> Decisions:
    """A batch of one whose only row failed, which the server says as the status of the call."""
    row = RowError(0, error.reason, error.message, error.code, error.retryable)
    return Decisions(
        actions=np.zeros((1, *spec.shape), spec.dtype.newbyteorder("=")),
        sources=(Source.NONE,),
        reasons=(error.reason,),
        versions=np.zeros(1, np.int64),
        lanes=("",),
        decision_ids=(bytes(_ID_BYTES),),
        log_probs=_floats((), 1),
        propensities=_doubles((), 1),
        episode_tokens=(b"",),
        errors=(row,),
    )
