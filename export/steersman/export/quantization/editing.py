"""Small changes to a graph: putting nodes in others' places, and clearing away what nothing needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper

Array = NDArray[Any]


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model that can be changed without changing the other."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def producer(model: onnx.ModelProto, name: str) -> NodeProto | None:
    """The node that makes a tensor; None for inputs and constants."""
    return next((node for node in model.graph.node if name in node.output), None)


def consumers(model: onnx.ModelProto, name: str) -> list[NodeProto]:
    """The nodes that take a tensor."""
    return [node for node in model.graph.node if name in node.input]


def replace_node(
    model: onnx.ModelProto, old: NodeProto, new: Sequence[NodeProto], constants: Mapping[str, Array]
) -> None:
    """Puts nodes in another's place, with their constants by name.

    What made the same outputs before is dropped, as is everything that nothing needs any more.
    """
    made = {name for node in new for name in node.output}
    kept: list[NodeProto] = []
    for node in model.graph.node:
        if node.output[0] == old.output[0]:
            kept += new
        elif not made.intersection(node.output):
            kept.append(node)
    present = {tensor.name for tensor in model.graph.initializer}
    model.graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in constants.items() if name not in present
    )
    _keep(model, kept)


def _keep(model: onnx.ModelProto, nodes: Sequence[NodeProto]) -> None:
    """Of these nodes and all constants, those that the outputs depend on."""
    needed = {value.name for value in model.graph.output}
    used: list[NodeProto] = []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            used.append(node)
            needed.update(_taken(node))
    used.reverse()
    del model.graph.node[:]
    model.graph.node.extend(used)
    kept = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _taken(node: NodeProto) -> set[str]:
    """Names that a node takes, those that its branches take from outside included."""
    inside = [_taken(inner) for part in node.attribute for inner in part.g.node]
    return set(node.input).union(*inside)
