"""The ONNX graph of a masked discrete policy: tanh layers of any widths, with the whole graph contract.

    hidden = tanh(... tanh(obs W0 + b0) ...)    logits = hidden W + b    value = hidden v

Inputs `obs`, `action_mask`, `noise`; outputs `action`, `sampled_action`, `log_prob`, `entropy`,
`distribution`, `value`. The weights are random, from a fixed seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from steersman.bundle.session import CONTRACT_KEY

OPSET = 18
_FLOAT, _INT64, _BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL

_TAIL: tuple[tuple[str, str, str, dict[str, int]], ...] = (
    ("Where", "action_mask logits never", "masked", {}),
    ("LogSoftmax", "masked", "distribution", {"axis": 1}),
    ("ArgMax", "masked", "action", {"axis": 1, "keepdims": 0}),
    ("Log", "noise", "log_noise", {}),
    ("Neg", "log_noise", "exponential", {}),
    ("Log", "exponential", "minus_gumbel", {}),
    ("Sub", "masked minus_gumbel", "perturbed", {}),
    ("ArgMax", "perturbed", "sampled_action", {"axis": 1, "keepdims": 0}),
    ("Unsqueeze", "sampled_action last", "index", {}),
    ("GatherElements", "distribution index", "log_prob_column", {"axis": 1}),
    ("Squeeze", "log_prob_column last", "log_prob", {}),
    ("Exp", "distribution", "probabilities", {}),
    ("Mul", "probabilities distribution", "products", {}),
    ("Where", "action_mask products zero", "summands", {}),
    ("ReduceSum", "summands last", "minus_entropy", {"keepdims": 0}),
    ("Neg", "minus_entropy", "entropy", {}),
    ("Squeeze", "value_column last", "value", {}),
)
"""What follows the logits: operator, inputs, output, attributes."""


def build_model(widths: Sequence[int], digest: str) -> bytes:
    """The ONNX file.

    Args:
        widths: Features, hidden widths, actions; such as (64, 256, 256, 16).
        digest: Of the contract that the graph keeps.
    """
    nodes, constants, hidden = _hidden_layers(widths)
    layers = {"logits": widths[-1], "value_column": 1}
    rng = np.random.default_rng(len(widths))
    for name, width in layers.items():
        constants |= {f"{name}_w": _weights(rng, widths[-2], width), f"{name}_b": np.zeros(width, np.float32)}
        nodes.append(_node("Gemm", f"{hidden} {name}_w {name}_b", name))
    nodes += [_node(op, inputs, output, **attributes) for op, inputs, output, attributes in _TAIL]
    constants |= {"never": np.array(-np.inf, np.float32), "zero": np.array(0, np.float32)}
    constants |= {"last": np.array([1], np.int64)}
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "mlp", *_signature(widths[0], widths[-1]), tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    model.metadata_props.add(key=CONTRACT_KEY, value=digest)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _hidden_layers(widths: Sequence[int]) -> tuple[list[onnx.NodeProto], dict[str, NDArray[Any]], str]:
    """Nodes, constants, and the name of the last layer's output."""
    rng = np.random.default_rng(0)
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, NDArray[Any]] = {}
    last = "obs"
    for i, (width_in, width_out) in enumerate(pairwise(widths[:-1])):
        constants |= {f"w{i}": _weights(rng, width_in, width_out), f"b{i}": np.zeros(width_out, np.float32)}
        nodes.append(_node("Gemm", f"{last} w{i} b{i}", f"linear{i}"))
        nodes.append(_node("Tanh", f"linear{i}", f"hidden{i}"))
        last = f"hidden{i}"
    return nodes, constants, last


def _weights(rng: np.random.Generator, width_in: int, width_out: int) -> NDArray[np.float32]:
    weights = rng.standard_normal((width_in, width_out), np.float32)
    return weights / np.float32(width_in**0.5)


def _signature(features: int, actions: int) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    inputs = [
        _info("obs", _FLOAT, features),
        _info("action_mask", _BOOL, actions),
        _info("noise", _FLOAT, actions),
    ]
    columns = [_info(name, _INT64) for name in ("action", "sampled_action")]
    columns += [_info(name, _FLOAT) for name in ("log_prob", "entropy", "value")]
    return inputs, [*columns, _info("distribution", _FLOAT, actions)]


def _info(name: str, kind: int, *width: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, ["batch", *width])


def _node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], **attributes)
