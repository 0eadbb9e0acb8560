"""The part of a graph that some outputs need, cut out of the ONNX file's bytes.

ONNX Runtime executes every node of a graph, whatever is fetched (1.32 does, `only_execute_path_to_fetches` set or
not), so a caller that wants the action alone pays for sampling and for the value. Nodes must leave the model. The
server has no `onnx` package, so this reads the protobuf wire format itself and copies what stays byte for byte.
It knows the plain graphs of policies; of anything else it says that it cannot be pruned. Field numbers are those
of onnx.proto (ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto, ValueInfoProto), the wire format is
https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}

_MODEL_GRAPH, _MODEL_TRAINING = 7, 20
_NODE, _INITIALIZER, _INPUT, _OUTPUT, _VALUE_INFO = 1, 5, 11, 12, 13
_GRAPH_TEXTS = frozenset({2, 10, 16})  # name, doc_string, metadata_props
_NODE_INPUT, _NODE_OUTPUT, _NODE_ATTRIBUTE = 1, 2, 5
_NODE_FIELDS = frozenset(range(1, 11))
_SUBGRAPHS = frozenset({6, 11})  # AttributeProto.g, .graphs: they see tensors that the node does not name
_TENSOR_NAME = 8
_TENSOR_EXTERNAL = frozenset({13, 14})  # external_data, data_location
_VALUE_NAME = 1


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
class _Node:
    inputs: tuple[bytes, ...]
    outputs: tuple[bytes, ...]


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
    return b"".join(
        _written(_MODEL_GRAPH, pruned) if field is graphs[0] else bytes(field.raw) for field in fields
    )


def _prune_graph(graph: memoryview, outputs: Collection[bytes]) -> bytes:
    fields = list(_fields(graph))
    nodes = [_node(field.message) if field.number == _NODE else None for field in fields]
    needed = _needed([node for node in nodes if node], outputs)
    given: set[bytes] = set()
    kept = []
    for field, node in zip(fields, nodes, strict=True):
        if node is not None:
            keep = not needed.isdisjoint(node.outputs)
        elif field.number in _GRAPH_TEXTS:
            keep = True
        else:
            name = _name(field)
            keep = name in (outputs if field.number == _OUTPUT else needed)
            given |= {name} if field.number == _OUTPUT else set()
        if keep:
            kept.append(field.raw)
    if not given.issuperset(outputs):
        raise _UnknownFormError
    return b"".join(kept)


def _needed(nodes: Sequence[_Node], outputs: Collection[bytes]) -> set[bytes]:
    """Names of all tensors that the outputs come from, with every output of a node that is needed."""
    maker = {name: node for node in nodes for name in node.outputs if name}
    needed: set[bytes] = set()
    ahead = list(outputs)
    while ahead:
        name = ahead.pop()
        if name and name not in needed:
            needed.add(name)
            if node := maker.get(name):
                ahead += (*node.inputs, *node.outputs)
    return needed


def _node(data: memoryview) -> _Node:
    fields = list(_fields(data))
    for field in fields:
        if field.number not in _NODE_FIELDS:
            raise _UnknownFormError
        if field.number == _NODE_ATTRIBUTE and _numbers(field.message) & _SUBGRAPHS:
            raise _UnknownFormError
    return _Node(
        inputs=tuple(bytes(field.message) for field in fields if field.number == _NODE_INPUT),
        outputs=tuple(bytes(field.message) for field in fields if field.number == _NODE_OUTPUT),
    )


def _name(field: _Field) -> bytes:
    """Name of a weight, an input, an output or a tensor inside."""
    if field.number not in {_INITIALIZER, _INPUT, _OUTPUT, _VALUE_INFO}:
        raise _UnknownFormError
    data = field.message
    if field.number == _INITIALIZER and _numbers(data) & _TENSOR_EXTERNAL:
        raise _UnknownFormError
    number = _TENSOR_NAME if field.number == _INITIALIZER else _VALUE_NAME
    names = [bytes(inner.message) for inner in _fields(data) if inner.number == number]
    if len(names) != 1:
        raise _UnknownFormError
    return names[0]


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
