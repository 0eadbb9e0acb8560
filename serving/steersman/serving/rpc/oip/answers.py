"""From the outcome of a call to a `ModelInferResponse`, or to the failure of the whole request."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from steersman.oip import inference_pb2 as pb
from steersman.serving.decision import Decisions, RowError
from steersman.serving.errors import CallError
from steersman.serving.rpc.convert import only_row_error
from steersman.serving.rpc.oip.datatypes import CONTENTS
from steersman.serving.rpc.oip.outputs import COLUMNS, Column
from steersman.serving.rpc.oip.requests import Asked
from steersman.serving.rpc.status import REASON_CODES

_ID = b"\x1a"
_RAW_OUTPUT_CONTENTS = b"\x32"
_ROWS_NAMED = 16
_ROWS_EXPLAINED = 4
_Heads = tuple[tuple[str, str, tuple[int, ...]], ...]


def encode_infer(outcome: Decisions | CallError, asked: Asked) -> bytes | CallError:
    """The bytes of the answer, or why there is none: a row without an action fails the whole request."""
    if isinstance(outcome, CallError):
        return outcome
    if (failed := only_row_error(outcome)) is not None:
        return failed
    if outcome.errors:
        return _rows_failed(outcome.errors, len(outcome.actions))
    return encode_decisions(outcome, asked)


def encode_decisions(decisions: Decisions, asked: Asked) -> bytes:
    """The bytes of the answer, with contents as the request had them; all raw if one can only be so."""
    columns = [COLUMNS[name](decisions) for name in asked.outputs]
    version = _version(decisions)
    if asked.raw or any(column.datatype not in CONTENTS for column in columns):
        heads = tuple(
            (name, column.datatype, column.shape) for name, column in zip(asked.outputs, columns, strict=True)
        )
        raws = [_field(_RAW_OUTPUT_CONTENTS, column.raw()) for column in columns]
        return b"".join((_head(asked.model, version, heads), asked.echo, _request_id(asked), *raws))
    answer = pb.ModelInferResponse(model_name=asked.model, model_version=version)
    for name, column in zip(asked.outputs, columns, strict=True):
        answer.outputs.append(_typed(name, column))
    return b"".join((answer.SerializeToString(), asked.echo, _request_id(asked)))


@lru_cache(maxsize=1024)
def _head(model: str, version: str, heads: _Heads) -> bytes:
    """What answers of the same shape have in common; building that anew would take longer than all the rest.

    The fields of a message may come in any order, and a repeated one in parts.
    """
    return pb.ModelInferResponse(
        model_name=model,
        model_version=version,
        outputs=[
            pb.ModelInferResponse.InferOutputTensor(name=name, datatype=datatype, shape=shape)
            for name, datatype, shape in heads
        ],
    ).SerializeToString()


def _typed(name: str, column: Column) -> pb.ModelInferResponse.InferOutputTensor:
    tensor = pb.ModelInferResponse.InferOutputTensor(
        name=name, datatype=column.datatype, shape=column.shape, contents=pb.InferTensorContents()
    )
    getattr(tensor.contents, CONTENTS[column.datatype]).extend(column.typed())
    return tensor


def _version(decisions: Decisions) -> str:
    """The version that decided all rows; empty where there are several."""
    versions = decisions.versions
    first = int(versions[0])
    return str(first) if len(versions) == 1 or bool((versions == first).all()) else ""


def _request_id(asked: Asked) -> bytes:
    return _field(_ID, asked.id.encode()) if asked.id else b""


def _field(tag: bytes, content: bytes) -> bytes:
    """A length-delimited field of a message, as protocol buffers lay it out."""
    return b"".join((tag, _varint(len(content)), content))


def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes((number,))
    digits = bytearray()
    while number >= 0x80:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


def _rows_failed(errors: Sequence[RowError], rows: int) -> CallError:
    """All the rows that failed, and why the first of them did."""
    first = errors[0]
    named = ", ".join(str(error.row) for error in errors[:_ROWS_NAMED])
    more = f" and {len(errors) - _ROWS_NAMED} more" if len(errors) > _ROWS_NAMED else ""
    why = "; ".join(f"row {error.row}: {error.message}" for error in errors[:_ROWS_EXPLAINED])
    return CallError(
        REASON_CODES[first.reason],
        str(first.reason),
        f"{len(errors)} of {rows} rows have no action, so the request fails: {named}{more}; {why}",
        retryable=all(error.retryable for error in errors),
    )
