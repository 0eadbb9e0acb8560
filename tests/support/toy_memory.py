"""A recurrent toy policy whose state can be worked out by hand: it acts on the sum of all it has seen.

    next_state/total = total + obs,  next_state/count = count + 1,  logits = next total @ weights
A row that begins its episode has zeros for both, whatever comes in.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from steersman.bundle.specs import Contract, DiscreteAction, ObservationSpec, StateSpec
from support.toy_bundle import FEATURES, WEIGHTS

_TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}


def memory_contract() -> Contract:
    """Four features, three actions; a state of two tensors of different types."""
    observation = ObservationSpec(
        dtype="float32", shape=(4,), low=(-10.0,), high=(10.0,), feature_names=FEATURES
    )
    return Contract(
        observations=(observation,),
        action=DiscreteAction(n=3),
        state=(StateSpec(name="total", shape=(4,)), StateSpec(name="count", dtype="int64", shape=(1,))),
        distribution="q_values",
        outputs=("action", "distribution", "value", "next_state/total", "next_state/count"),
    )


def memory_graph() -> onnx.GraphProto:
    """The graph of the contract."""
    constants = {
        "weights": WEIGHTS,
        "never": np.float32(-np.inf),
        "nothing": np.float32(0),
        "none": np.int64(0),
        "one": np.int64(1),
        "last": np.array([1], np.int64),
    }
    steps = [
        ("Unsqueeze", "episode_start last", "begins", {}),
        ("Where", "begins nothing state/total", "before", {}),
        ("Add", "before obs", "next_state/total", {}),
        ("Where", "begins none state/count", "counted", {}),
        ("Add", "counted one", "next_state/count", {}),
        ("MatMul", "next_state/total weights", "logits", {}),
        ("Where", "action_mask logits never", "distribution", {}),
        ("ArgMax", "distribution", "action", {"axis": 1, "keepdims": 0}),
        ("Cast", "next_state/count", "counts", {"to": TensorProto.FLOAT}),
        ("Squeeze", "counts last", "value", {}),
    ]
    return helper.make_graph(
        [helper.make_node(op, inputs.split(), [output], **more) for op, inputs, output, more in steps],
        "memory",
        [
            _info("obs", "float32", 4),
            _info("action_mask", "bool", 3),
            _info("state/total", "float32", 4),
            _info("state/count", "int64", 1),
            _info("episode_start", "bool"),
        ],
        [
            _info("action", "int64"),
            _info("distribution", "float32", 3),
            _info("value", "float32"),
            _info("next_state/total", "float32", 4),
            _info("next_state/count", "int64", 1),
        ],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )


def _info(name: str, kind: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, _TYPES[kind], ["batch", *shape])
