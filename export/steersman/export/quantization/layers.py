"""The layers of a graph that have constant weights: which they are, and in what form they hold them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from steersman.export.quantization.patches import Kernel

Array = NDArray[Any]
Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Layer:
    """One `Gemm`, `MatMul` or `Conv` as rows of inputs times a matrix.

    Attributes:
        node: As it is in the graph.
        weights: [outputs, inputs]; a convolution's inputs are channels, then the kernel's places.
        bias: [outputs].
        kernel: How a convolution moves over its input; None for a dense layer.
        first: True when it reads the observation, however it was prepared.
        last: True when no other layer comes after it.
    """

    node: NodeProto
    weights: Matrix
    bias: Vector
    kernel: Kernel | None
    first: bool
    last: bool

    @property
    def name(self) -> str:
        """Of its output, which names it uniquely."""
        return str(self.node.output[0])

    @property
    def source(self) -> str:
        """Name of the tensor that it takes."""
        return str(self.node.input[0])

    @property
    def axis(self) -> int:
        """Axis of its outputs in the weights as the new node holds them."""
        return 1 if self.node.op_type == "MatMul" else 0

    def held(self, weights: Array) -> Array:
        """Weights [outputs, inputs] in the form that the new node takes."""
        if self.kernel is not None:
            return weights.reshape(len(weights), -1, *self.kernel.shape)
        return np.ascontiguousarray(weights.T) if self.axis else weights

    def nodes(self, source: str, weights: str, bias: str) -> list[NodeProto]:
        """The layer with other inputs; a `MatMul` gets its bias from an `Add`."""
        if self.node.op_type == "MatMul":
            product = f"{self.name}.product"
            return [
                helper.make_node("MatMul", [source, weights], [product]),
                helper.make_node("Add", [product, bias], [self.name]),
            ]
        if self.node.op_type == "Gemm":
            return [helper.make_node("Gemm", [source, weights, bias], [self.name], transB=1)]
        same = helper.make_node("Conv", [source, weights, bias], [self.name])
        same.attribute.extend(self.node.attribute)
        return [same]

    def along_outputs(self, values: Array) -> Array:
        """[outputs] in a shape that multiplies the held weights."""
        dimensions = 2 + len(self.kernel.shape if self.kernel else ())
        return values.reshape([-1 if i == self.axis else 1 for i in range(dimensions)])


def find_layers(model: onnx.ModelProto) -> tuple[Layer, ...]:
    """All layers, in the order in which they are computed."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = [node for node in model.graph.node if _has_constant_weights(node, constants)]
    before = _layers_before(model, {node.output[0] for node in nodes})
    followed = set().union(*before.values()) if before else set()
    return tuple(
        _layer(node, constants, first=not before[node.output[0]], last=node.output[0] not in followed)
        for node in nodes
    )


def _has_constant_weights(node: NodeProto, constants: Mapping[str, onnx.TensorProto]) -> bool:
    if node.op_type not in _SUPPORTED or node.input[0] in constants:
        return False
    given = [name for name in node.input[1:] if name]
    return all(name in constants for name in given) and _SUPPORTED[node.op_type](node, constants[given[0]])


def _plain_gemm(node: NodeProto, _: onnx.TensorProto) -> bool:
    found = attributes(node)
    return bool(found.get("alpha", 1.0) == found.get("beta", 1.0) == 1.0 and not found.get("transA", 0))


def _plain_matmul(_: NodeProto, weights: onnx.TensorProto) -> bool:
    return len(weights.dims) == 2


def _plain_conv(node: NodeProto, _: onnx.TensorProto) -> bool:
    """Groups and automatic padding stay float32: no extractor of SB3's has them."""
    found = attributes(node)
    return bool(found.get("group", 1) == 1 and found.get("auto_pad", b"NOTSET") == b"NOTSET")


_SUPPORTED = {"Gemm": _plain_gemm, "MatMul": _plain_matmul, "Conv": _plain_conv}


def attributes(node: NodeProto) -> dict[str, Any]:
    """A node's attributes by name."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _layer(node: NodeProto, constants: Mapping[str, onnx.TensorProto], *, first: bool, last: bool) -> Layer:
    weights = numpy_helper.to_array(constants[node.input[1]]).astype(np.float64)
    kernel = _kernel(node, weights) if node.op_type == "Conv" else None
    if node.op_type == "MatMul" or (node.op_type == "Gemm" and not attributes(node).get("transB", 0)):
        weights = weights.T
    bias = np.zeros(len(weights))
    if len(node.input) > 2 and node.input[2]:
        bias = bias + numpy_helper.to_array(constants[node.input[2]]).astype(np.float64)
    return Layer(node, weights.reshape(len(weights), -1), bias, kernel, first, last)


def _kernel(node: NodeProto, weights: Array) -> Kernel:
    found, shape = attributes(node), weights.shape[2:]
    ones, none = [1] * len(shape), [0] * len(shape)
    pads = found.get("pads", none * 2)
    return Kernel(
        shape=shape,
        strides=tuple(found.get("strides", ones)),
        dilations=tuple(found.get("dilations", ones)),
        before=tuple(pads[: len(shape)]),
        after=tuple(pads[len(shape) :]),
    )


def _layers_before(model: onnx.ModelProto, layers: set[str]) -> dict[str, set[str]]:
    """For every layer, those that its input depends on."""
    upstream: dict[str, set[str]] = {}
    before = {}
    for node in model.graph.node:
        reached = set().union(*(upstream.get(name, set()) for name in node.input))
        for name in node.output:
            if name in layers:
                before[name] = reached
            upstream[name] = reached | ({name} & layers)
    return before
