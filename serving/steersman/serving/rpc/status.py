"""From the server's failures to gRPC's status codes: the one place."""

from __future__ import annotations

import math
from collections.abc import Mapping

import grpc

from steersman.serving.decision import Reason
from steersman.serving.errors import CallError, Code

REASON_METADATA_KEY = "steersman-reason"
"""Trailing metadata with the machine-readable reason of a failed call."""

ROW_METADATA_KEY = "steersman-row"
"""Trailing metadata, "1" when it is the call's only row that failed."""

RETRYABLE_METADATA_KEY = "steersman-retryable"
"""Trailing metadata, "1" when the same call may succeed if it is sent again."""

PUSHBACK_METADATA_KEY = "grpc-retry-pushback-ms"
"""Trailing metadata with the milliseconds to wait before another try (gRPC A6: clients' libraries obey)."""

RETRY_AFTER_METADATA_KEY = "steersman-retry-after-ms"
"""The same once more: the native transport's library lets nobody but itself say what begins with `grpc-`."""

RESERVED = "grpc-"

STATUS: Mapping[Code, grpc.StatusCode] = {code: grpc.StatusCode[code.name] for code in Code}

REASON_CODES: Mapping[Reason, Code] = {
    Reason.OBSERVATION_NON_FINITE: Code.INVALID_ARGUMENT,
    Reason.OBSERVATION_OUT_OF_BOUNDS: Code.INVALID_ARGUMENT,
    Reason.OBSERVATION_OUT_OF_TRAINING_RANGE: Code.FAILED_PRECONDITION,
    Reason.MODEL_ERROR: Code.INTERNAL,
    Reason.MODEL_NON_FINITE: Code.INTERNAL,
    Reason.ACTION_MASKED: Code.FAILED_PRECONDITION,
    Reason.MASK_ALL_FALSE: Code.INVALID_ARGUMENT,
    Reason.NO_FEASIBLE_ACTION: Code.FAILED_PRECONDITION,
    Reason.DEADLINE_TOO_NEAR: Code.DEADLINE_EXCEEDED,
    Reason.OVERLOAD: Code.RESOURCE_EXHAUSTED,
    Reason.EPISODE_TOKEN_INVALID: Code.INVALID_ARGUMENT,
    Reason.EPISODE_TOKEN_EXPIRED: Code.FAILED_PRECONDITION,
    Reason.EPISODE_TOKEN_MISMATCH: Code.INVALID_ARGUMENT,
}
"""Code of a call whose only row failed for this reason."""


def trailing_metadata(error: CallError) -> tuple[tuple[str, str], ...]:
    """What a failed call says beside its status."""
    marks = ((ROW_METADATA_KEY, error.row), (RETRYABLE_METADATA_KEY, error.retryable))
    metadata = [(REASON_METADATA_KEY, error.reason), *((key, "1") for key, marked in marks if marked)]
    if error.retry_after_s:
        milliseconds = str(math.ceil(error.retry_after_s * 1e3))
        metadata += [(PUSHBACK_METADATA_KEY, milliseconds), (RETRY_AFTER_METADATA_KEY, milliseconds)]
    return tuple(metadata)


def rpc_code(code: Code) -> int:
    """The number of google.rpc.Code."""
    number: int = STATUS[code].value[0]
    return number
