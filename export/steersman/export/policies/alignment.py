"""Kernels that give a row the same bits wherever in memory it lies.

ONNX Runtime computes some functions with SIMD packets and what is left over with scalar code, and the two
differ in the last bit. Which elements are left over depends on the row's place in memory, so its result would
depend on its company. Rows padded to whole packets have no elements left over: that is done here, to the
finished graph, so that it holds for whatever code a policy brings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from steersman.export.nodes import copied_node

PACKET = 16
"""Elements; a multiple of every packet in use (16 floats of AVX-512 and fewer)."""

_ELEMENT_WISE = frozenset(
    {"Acos", "Asin", "Atan", "Celu", "Cos", "Elu", "Log", "Mish", "Selu", "Sin", "Softplus"}
)
"""Tried with ONNX Runtime 1.32 on x86-64: these depend on the place of a row. `Gemm`, `Conv`, pools, `LSTM`,
`Softmax`, `LayerNormalization`, `Relu`, `Gelu`, `Erf`, `Pow`, `Sqrt`, float `Exp`, `Tanh`, `Sigmoid` and
arithmetic do not."""
_ELEMENT_WISE_IN_DOUBLE = frozenset({"Exp", "Sigmoid", "Tanh"})
_REDUCTIONS = frozenset({"ReduceMean", "ReduceSum"})
_PASSING = frozenset({"Abs", "Neg"})
"""Between two functions of the first kind these are applied to the padding too, which saves padding twice."""


def align_rows(model: onnx.ModelProto) -> None:
    """Pads what goes into packet-wise kernels, in place; shapes must have been inferred.

    Rows are all that lies behind the first axis. Tensors without a free first axis are left as they are.
    """
    graph = model.graph
    aligned = _Aligned(graph)
    nodes = [new for node in list(graph.node) for new in aligned.replaced(node)]
    del graph.node[:]
    graph.node.extend(_needed(nodes, {output.name for output in graph.output}))
    graph.initializer.extend(aligned.constants.values())


class _Aligned:
    """The new nodes and constants.

    Attributes:
        constants: By name.
        wide: Names of tensors [N, padded width] that were made of others, by their names.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        values = (*graph.input, *graph.value_info, *graph.output)
        self.types = {value.name: value.type.tensor_type for value in values}
        self.arrays = {tensor.name: tensor for tensor in graph.initializer}
        self.constants: dict[str, TensorProto] = {}
        self.wide: dict[str, str] = {}
        self.passing = {node.output[0]: node for node in graph.node if node.op_type in _PASSING}

    def replaced(self, node: NodeProto) -> list[NodeProto]:
        """The nodes in a node's place."""
        width = self._row(node.input[0]) if node.input else None
        if width is None:
            return [node]
        if self._is_element_wise(node) and width % PACKET:
            return list(self._element_wise(node, width))
        axes = self._reduced(node)
        if axes and 0 not in axes and self._width(node.input[0], axes) % PACKET:
            return list(self._reduction(node, axes))
        return [node]

    def _is_element_wise(self, node: NodeProto) -> bool:
        double = self.types[node.input[0]].elem_type == TensorProto.DOUBLE
        return node.op_type in _ELEMENT_WISE or (double and node.op_type in _ELEMENT_WISE_IN_DOUBLE)

    def _element_wise(self, node: NodeProto, width: int) -> Iterator[NodeProto]:
        yield from self._widen(node.input[0], width)
        output, name = node.output[0], f"{node.output[0]}/wide"
        yield copied_node(node, [self.wide[node.input[0]]], name)
        self.wide[output] = name
        bounds = [self._integers(numbers) for numbers in ([0], [width], [1])]
        flat = len(self._shape(output)) == 2
        narrow = output if flat else f"{output}/flat"
        yield helper.make_node("Slice", [name, *bounds], [narrow])
        if not flat:
            yield self._shaped(narrow, output)

    def _widen(self, name: str, width: int) -> Iterator[NodeProto]:
        """Makes the padded form of a tensor, unless there is one."""
        if name in self.wide:
            return
        before = self.passing.get(name)
        if before is not None and before.input[0] in self.wide:
            yield copied_node(before, [self.wide[before.input[0]]], f"{name}/wide")
        else:
            flat = name
            if len(self._shape(name)) != 2:
                flat = f"{name}/rows"
                yield helper.make_node("Flatten", [name], [flat], axis=1)
            yield self._padded(flat, width, f"{name}/wide")
        self.wide[name] = f"{name}/wide"

    def _reduction(self, node: NodeProto, axes: Sequence[int]) -> Iterator[NodeProto]:
        """Reduced axes last and as one, padded with zeros, summed, and put into shape again."""
        name, output, width = node.input[0], node.output[0], self._width(node.input[0], axes)
        rows = name if len(self._shape(name)) == 2 else f"{output}/rows"
        if rows != name:
            yield from self._rows(name, axes, width, rows)
        yield self._padded(rows, width, f"{output}/terms")
        mean, flat = node.op_type == "ReduceMean", len(self._shape(output)) == 1
        result = output if flat else f"{output}/flat"
        total = f"{output}/total" if mean else result
        yield helper.make_node("ReduceSum", [f"{output}/terms", self._integers([1])], [total], keepdims=0)
        if mean:
            dtype = helper.tensor_dtype_to_np_dtype(self.types[name].elem_type)
            yield helper.make_node("Div", [total, self._constant(np.array(width, dtype))], [result])
        if not flat:
            yield self._shaped(result, output)

    def _rows(self, name: str, axes: Sequence[int], width: int, output: str) -> Iterator[NodeProto]:
        """[rows, elements of `axes`]."""
        order = [axis for axis in range(len(self._shape(name))) if axis not in axes] + list(axes)
        if order != sorted(order):
            yield helper.make_node("Transpose", [name], [f"{output}/last"], perm=order)
            name = f"{output}/last"
        yield helper.make_node("Reshape", [name, self._integers([-1, width])], [output])

    def _shaped(self, name: str, output: str) -> NodeProto:
        """Into the shape that another tensor has."""
        return helper.make_node("Reshape", [name, self._integers([-1, *self._shape(output)[1:]])], [output])

    def _padded(self, name: str, width: int, output: str) -> NodeProto:
        return helper.make_node("Pad", [name, self._integers([0, 0, 0, -width % PACKET])], [output])

    def _reduced(self, node: NodeProto) -> list[int]:
        """The axes that a reduction reduces, sorted; none for other nodes."""
        if node.op_type not in _REDUCTIONS or len(node.input) < 2 or node.input[1] not in self.arrays:
            return []
        rank = len(self._shape(node.input[0]))
        return sorted(int(a) % rank for a in numpy_helper.to_array(self.arrays[node.input[1]]))

    def _shape(self, name: str) -> list[int]:
        """Sizes; 0 for an axis that is free."""
        return [dim.dim_value for dim in self.types[name].shape.dim]

    def _width(self, name: str, axes: Sequence[int]) -> int:
        shape = self._shape(name)
        return int(np.prod([shape[axis] for axis in axes]))

    def _row(self, name: str) -> int | None:
        """Elements of a row; None unless the first axis is free and the others are not."""
        if name not in self.types or not self.types[name].HasField("shape"):
            return None
        dims = list(self.types[name].shape.dim)
        if not dims or not dims[0].dim_param or not all(dim.dim_value for dim in dims[1:]):
            return None
        return int(np.prod([dim.dim_value for dim in dims[1:]]))

    def _integers(self, numbers: Sequence[int]) -> str:
        return self._constant(np.array(numbers, np.int64))

    def _constant(self, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> str:
        name = f"aligned/{array.dtype}/{'_'.join(map(str, array.ravel()))}/{array.ndim}"
        self.constants[name] = numpy_helper.from_array(array, name)
        return name


def _needed(nodes: Sequence[NodeProto], outputs: set[str]) -> list[NodeProto]:
    """Those that an output depends on, in their order."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    return kept[::-1]
