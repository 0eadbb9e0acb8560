"""The part of a graph that some outputs need, cut out of the ONNX file's bytes.

ONNX Runtime runs every node of a graph, whatever is fetched (seen with 1.32; its run option
`only_execute_path_to_fetches` changes nothing), so a caller that wants the action alone pays for sampling and
for the value too, unless their nodes leave the model. The server has no `onnx` package, so this reads the
protobuf wire format itself and copies what stays, byte for byte. It knows the plain graphs of policies; of
anything else it says that it cannot be pruned.

Field numbers are those of onnx.proto, the wire format is https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}

_MODEL_GRAPH, _MODEL_TRAINING = 7, 20  # ModelProto.graph, .training_info
_NODE, _INITIALIZER, _INPUT, _OUTPUT, _VALUE_INFO = 1, 5, 11, 12, 13  # GraphProto
_GRAPH_TEXTS = frozenset({2, 10, 16})  # GraphProto.name, .doc_string, .metadata_props
_NODE_INPUT, _NODE_OUTPUT, _NODE_ATTRIBUTE = 1, 2, 5
_NODE_FIELDS = frozenset(range(1, 11))
_SUBGRAPHS = frozenset({6, 11})  # AttributeProto.g, .graphs: they use tensors that the node does not name
_TENSOR_NAME, _TENSOR_EXTERNAL = 8, frozenset({13, 14})  # TensorProto.external_data, .data_location
_VALUE_NAME = 1  # ValueInfoProto


class _UnknownFormError(Exception):
    """The bytes are no model, or one that is not plain."""


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of a message: its number, its value where that is of bytes, and all of it as it was written."""

    number: int
    value: memoryview | None
    raw: memoryview

    @property
    def message(self) -> memoryview:
        """The value of a field that must be of bytes: a string or a message."""
        if self.value is None:
            raise _UnknownFormError
        return self.value


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry of a graph: the tensors that it makes or describes, and those that it takes."""

    number: int
    raw: memoryview
    names: tuple[bytes, ...] = ()
    takes: tuple[bytes, ...] = ()


def prune(model: bytes, outputs: Collection[str]) -> bytes | None:
    """The model with only the nodes, weights and inputs that `outputs` need, and only these outputs.

    Everything else stays as it is and in its order: versions, metadata, functions.

    Args:
        model: A serialized ModelProto.
        outputs: Names of graph outputs.

    Returns:
        None where that cannot be done for sure: the bytes are malformed, an output is not there, or the graph
        has subgraphs, sparse or external weights, or fields that are not known here.
    """
    try:
        fields = list(_fields(memoryview(model)))
        graphs = [field for field in fields if field.number == _MODEL_GRAPH]
        if len(graphs) != 1 or any(field.number == _MODEL_TRAINING for field in fields):
            return None
        pruned = _prune_graph(graphs[0].message, {name.encode() for name in outputs})
    except _UnknownFormError:
        return None
    return b"".join(_written(_MODEL_GRAPH, pruned) if field is graphs[0] else field.raw for field in fields)


def _prune_graph(graph: memoryview, outputs: AbstractSet[bytes]) -> bytes:
    entries = [_entry(field) for field in _fields(graph)]
    if outputs - {name for entry in entries if entry.number == _OUTPUT for name in entry.names}:
        raise _UnknownFormError
    needed = _needed([entry for entry in entries if entry.number == _NODE], outputs)
    return b"".join(
        entry.raw
        for entry in entries
        if entry.number in _GRAPH_TEXTS
        or not (outputs if entry.number == _OUTPUT else needed).isdisjoint(entry.names)
    )


def _needed(nodes: Sequence[_Entry], outputs: AbstractSet[bytes]) -> set[bytes]:
    """Names of all tensors that the outputs come from, and of all that the same nodes make."""
    maker = {name: node for node in nodes for name in node.names}
    needed: set[bytes] = set()
    ahead = list(outputs)
    while ahead:
        name = ahead.pop()
        if name not in needed:
            needed.add(name)
            if node := maker.get(name):
                ahead += (*node.takes, *node.names)
    return needed


def _entry(field: _Field) -> _Entry:
    if field.number in _GRAPH_TEXTS:
        return _Entry(field.number, field.raw)
    if field.number == _NODE:
        return _node(field)
    if field.number == _INITIALIZER and not _numbers(field.message) & _TENSOR_EXTERNAL:
        return _Entry(field.number, field.raw, _strings(field.message, _TENSOR_NAME))
    if field.number in {_INPUT, _OUTPUT, _VALUE_INFO}:
        return _Entry(field.number, field.raw, _strings(field.message, _VALUE_NAME))
    raise _UnknownFormError


def _node(field: _Field) -> _Entry:
    for inner in _fields(field.message):
        if inner.number not in _NODE_FIELDS:
            raise _UnknownFormError
        if inner.number == _NODE_ATTRIBUTE and _numbers(inner.message) & _SUBGRAPHS:
            raise _UnknownFormError
    outputs = _strings(field.message, _NODE_OUTPUT)
    return _Entry(field.number, field.raw, outputs, _strings(field.message, _NODE_INPUT))


def _strings(data: memoryview, number: int) -> tuple[bytes, ...]:
    """The strings of one field; an optional input or output that a node does without is empty."""
    found = (bytes(field.message) for field in _fields(data) if field.number == number)
    return tuple(name for name in found if name)


def _numbers(data: memoryview) -> set[int]:
    return {field.number for field in _fields(data)}


def _fields(data: memoryview) -> Iterator[_Field]:
    place = 0
    while place < len(data):
        began = place
        key, place = _varint(data, place)
        number, kind = key >> 3, key & 7
        value = None
        if kind == _VARINT:
            _, place = _varint(data, place)
        elif kind == _BYTES:
            size, place = _varint(data, place)
            value = data[place : place + size]
            place += size
        elif kind in _FIXED:
            place += _FIXED[kind]
        else:
            raise _UnknownFormError
        if place > len(data) or number == 0:
            raise _UnknownFormError
        yield _Field(number, value, data[began:place])


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    """A number in groups of seven bits, the lowest first, and the place after it."""
    number = 0
    for i, byte in enumerate(data[place : place + 10]):
        number |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return number, place + i + 1
    raise _UnknownFormError


def _written(number: int, value: bytes) -> bytes:
    key, size = number << 3 | _BYTES, len(value)
    head = bytearray([key])
    while size >= 0x80:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + value
