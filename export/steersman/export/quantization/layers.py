"""The dense layers of a graph: finding them, watching what flows into them, and replacing their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

Array = NDArray[Any]
Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Layer:
    """One `Gemm` whose weights are constant.

    Attributes:
        name: Of its output, which names it uniquely.
        source: Name of the tensor that it takes.
        weights: [outputs, inputs] float64.
        bias: [outputs] float64.
        first: True when it reads the observation, however it was prepared.
        last: True when no other layer comes after it.
    """

    name: str
    source: str
    weights: Matrix
    bias: NDArray[np.float64]
    first: bool
    last: bool


def find_layers(model: onnx.ModelProto) -> tuple[Layer, ...]:
    """All dense layers, in the order in which they are computed."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    gemms = [node for node in model.graph.node if _is_dense(node, constants)]
    before = _gemms_before(model, {node.output[0] for node in gemms})
    followed = set().union(*before.values()) if before else set()
    return tuple(
        _layer(node, constants, first=not before[node.output[0]], last=node.output[0] not in followed)
        for node in gemms
    )


def replace_layer(
    model: onnx.ModelProto,
    layer: Layer,
    preparation: Sequence[NodeProto],
    inputs: Sequence[str],
    constants: Mapping[str, Array],
) -> None:
    """Puts a `Gemm` with other inputs in a layer's place.

    Args:
        model: Changed in place.
        layer: The layer to replace.
        preparation: Nodes that make the new inputs.
        inputs: Names of the input, the weights [outputs, inputs] and the bias.
        constants: New constants by name.
    """
    place = next(i for i, node in enumerate(model.graph.node) if layer.name in node.output)
    old = model.graph.node[place]
    new = helper.make_node("Gemm", list(inputs), [layer.name], name=old.name, transB=1)
    nodes = [*model.graph.node[:place], *preparation, new, *model.graph.node[place + 1 :]]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    present = {tensor.name for tensor in model.graph.initializer}
    model.graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in constants.items() if name not in present
    )
    _drop_unused(model)


def watch(model: onnx.ModelProto, names: Sequence[str], feeds: Mapping[str, Array]) -> dict[str, Matrix]:
    """The values [N, K] of tensors inside the graph, in float64."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    graph_inputs = {value.name for value in watched.graph.input}
    inside = [name for name in dict.fromkeys(names) if name not in graph_inputs]
    given = {value.name for value in watched.graph.output}
    watched.graph.output.extend(
        helper.make_empty_tensor_value_info(name) for name in inside if name not in given
    )
    found: dict[str, Array] = {name: feeds[name] for name in names if name in graph_inputs}
    if inside:
        found |= dict(zip(inside, _run(watched, inside, feeds), strict=True))
    return {name: np.asarray(array, np.float64) for name, array in found.items()}


def _run(model: onnx.ModelProto, names: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    path_only = ort.RunOptions()
    path_only.only_execute_path_to_fetches = True
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: Any = session.run(list(names), dict(feeds), path_only)
    return list(found)


def _is_dense(node: NodeProto, constants: Mapping[str, onnx.TensorProto]) -> bool:
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    plain = attributes.get("alpha", 1.0) == 1.0 and attributes.get("beta", 1.0) == 1.0
    return (
        node.op_type == "Gemm"
        and plain
        and not attributes.get("transA", 0)
        and all(name in constants for name in node.input[1:])
    )


def _layer(node: NodeProto, constants: Mapping[str, onnx.TensorProto], *, first: bool, last: bool) -> Layer:
    weights = numpy_helper.to_array(constants[node.input[1]]).astype(np.float64)
    if not any(a.name == "transB" and a.i for a in node.attribute):
        weights = weights.T
    bias = np.zeros(len(weights))
    if len(node.input) > 2 and node.input[2]:
        bias = bias + numpy_helper.to_array(constants[node.input[2]]).astype(np.float64)
    return Layer(node.output[0], node.input[0], weights, bias, first, last)


def _gemms_before(model: onnx.ModelProto, gemms: set[str]) -> dict[str, set[str]]:
    """For every dense layer, those that its input depends on."""
    upstream: dict[str, set[str]] = {}
    before = {}
    for node in model.graph.node:
        reached = set().union(*(upstream.get(name, set()) for name in node.input))
        for name in node.output:
            if name in gemms:
                before[name] = reached
            upstream[name] = reached | ({name} & gemms)
    return before


def _drop_unused(model: onnx.ModelProto) -> None:
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
