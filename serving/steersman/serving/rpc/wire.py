"""`ActResponse` straight to bytes, for answers in which nothing went wrong and nothing more was asked for.

Those are nearly all, and most of what they cost is making a message only to write it out. What repeats from
answer to answer is written once and remembered; the rest are arrays as they lie in memory. The bytes are the
very same that the message would give (a test compares).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.serving.decision import REASONS, SOURCES, Decisions
from steersman.serving.rpc.dtypes import CODES
from steersman.v1 import policy_pb2 as pb

MOST_ROWS = 64
"""With more rows, writing is cheap beside what they are, and what repeats is too long to remember."""

_ACTION, _DECISION_IDS, _LOG_PROBS, _PROPENSITIES, _TOKEN, _CORRELATION_ID = (
    pb.ActResponse.DESCRIPTOR.fields_by_name[name].number << 3 | wire_type
    for name, wire_type in (
        ("action", 2),
        ("decision_ids", 2),
        ("log_probs", 2),
        ("propensities", 2),
        ("episode_tokens", 2),
        ("correlation_id", 0),
    )
)
_DATA = pb.Tensor.DESCRIPTOR.fields_by_name["data"].number << 3 | 2
SOURCE_CODES = tuple(
    pb.SOURCE_UNSPECIFIED if source == "none" else pb.Source.Value(f"SOURCE_{source.name}")
    for source in SOURCES
)
REASON_NAMES = tuple(str(reason) for reason in REASONS)


def encode_plainly(decisions: Decisions, correlation_id: int) -> bytes | None:
    """The answer; None where the message has to be made. Its action is raw bytes, not plain numbers."""
    rows = len(decisions.lanes)
    if rows > MOST_ROWS or decisions.errors or decisions.interventions or _has_evidence(decisions):
        return None
    action = decisions.actions.tobytes()
    ids, log_probs, propensities = _column_heads(rows)
    parts = [
        _action_head(decisions.actions.dtype, decisions.actions.shape, len(action)),
        action,
        _who(
            decisions.sources.tobytes(),
            decisions.reasons.tobytes(),
            decisions.versions.tobytes(),
            tuple(decisions.lanes),
        ),
        ids,
        decisions.decision_ids.tobytes(),
        log_probs,
        decisions.log_probs.tobytes(),
        propensities,
        decisions.propensities.tobytes(),
    ]
    if decisions.episode_tokens:
        parts += [field for token in decisions.episode_tokens for field in (_head(_TOKEN, len(token)), token)]
    if correlation_id:
        parts.append(_varint(_CORRELATION_ID) + _varint(correlation_id))
    return b"".join(parts)


def encode_rows(decisions: Decisions) -> list[bytes] | None:
    """The answers to calls of one row each whose decisions these are; None where they are not all alike.

    Alike they are but for actions, ids and probabilities, so one is written and its numbers are replaced.
    """
    if len(decisions.lanes) == 1:
        plainly = encode_plainly(decisions, 0)
        return None if plainly is None else [plainly]
    if not _alike(decisions):
        return None
    first = encode_plainly(decisions.rows(0, 1, frozenset()), 0)
    if first is None:
        return None
    answers, length = _filled(first, decisions).tobytes(), len(first)
    return [answers[start : start + length] for start in range(0, len(answers), length)]


def _alike(decisions: Decisions) -> bool:
    """Whether the answers differ in nothing but numbers of fixed length."""
    if decisions.errors or decisions.interventions or decisions.episode_tokens or _has_evidence(decisions):
        return False
    lanes = decisions.lanes
    return (
        lanes.count(lanes[0]) == len(lanes)
        and np.count_nonzero(decisions.reasons) == 0
        and np.count_nonzero(decisions.sources != decisions.sources[0]) == 0
        and np.count_nonzero(decisions.versions != decisions.versions[0]) == 0
    )


def _filled(first: bytes, decisions: Decisions) -> NDArray[np.uint8]:
    """[N, bytes]: the first answer with the numbers of each row in their places."""
    rows = len(decisions.lanes)
    answers = np.empty((rows, len(first)), np.uint8)
    answers[:] = np.frombuffer(first, np.uint8)
    end = len(first)
    heads = _column_heads(1)
    columns = (decisions.decision_ids, decisions.log_probs, decisions.propensities)
    for head, column in zip(reversed(heads), reversed(columns), strict=True):
        cells = _cells(column, rows)
        start = end - cells.shape[1]
        answers[:, start:end] = cells
        end = start - len(head)
    cells = _cells(decisions.actions, rows)
    size = cells.shape[1]
    start = len(_action_head(decisions.actions.dtype, (1, *decisions.actions.shape[1:]), size))
    answers[:, start : start + size] = cells
    return answers


def _cells(column: NDArray[Any], rows: int) -> NDArray[np.uint8]:
    """[N, bytes] of a column as it lies in memory."""
    return np.ascontiguousarray(column).view(np.uint8).reshape(rows, -1)


def _has_evidence(decisions: Decisions) -> bool:
    return not (decisions.values is None is decisions.entropies is decisions.distribution)


@lru_cache(maxsize=MOST_ROWS)
def _column_heads(rows: int) -> tuple[bytes, bytes, bytes]:
    """What stands before the columns that go over the wire as they lie in memory."""
    return _head(_DECISION_IDS, 16 * rows), _head(_LOG_PROBS, 4 * rows), _head(_PROPENSITIES, 8 * rows)


@lru_cache(maxsize=1024)
def _action_head(dtype: np.dtype[np.generic], shape: tuple[int, ...], size: int) -> bytes:
    """What stands before the elements of the action."""
    tensor = pb.Tensor(dtype=CODES[dtype], shape=shape).SerializeToString()
    if size:
        tensor += _head(_DATA, size)
    return _head(_ACTION, len(tensor) + size) + tensor


@lru_cache(maxsize=4096)
def _who(sources: bytes, reasons: bytes, versions: bytes, lanes: tuple[str, ...]) -> bytes:
    """Sources, reasons, versions and lanes, given as the columns lie in memory."""
    return pb.ActResponse(
        sources=[SOURCE_CODES[code] for code in np.frombuffer(sources, np.int8).tolist()],
        reasons=[REASON_NAMES[code] for code in np.frombuffer(reasons, np.int8).tolist()],
        versions=np.frombuffer(versions, np.int64).tolist(),
        lanes=lanes,
    ).SerializeToString()


@lru_cache(maxsize=1024)
def _head(tag: int, size: int) -> bytes:
    """Tag and length of a field."""
    return _varint(tag) + _varint(size)


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that more come."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
