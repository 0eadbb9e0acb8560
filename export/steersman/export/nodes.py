"""Nodes of ONNX graphs, made of others."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import NodeProto


def copied_node(node: NodeProto, inputs: Sequence[str], output: str) -> NodeProto:
    """The same operation on other inputs."""
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.name = ""
    del copy.input[:], copy.output[:]
    copy.input.extend(inputs)
    copy.output.append(output)
    return copy
