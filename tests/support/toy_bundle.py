"""Small real bundles, made without torch: a linear policy whose every number can be worked out by hand.

The graph keeps the whole contract: masks, noise, evidence, dynamic batch. `logits = obs @ weights`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from steersman.bundle.bundle import Bundle
from steersman.bundle.certificate import Certificate
from steersman.bundle.digest import contract_digest
from steersman.bundle.manifest import (
    CERTIFICATE_FILE,
    REFERENCE_FILE,
    FileDigest,
    Manifest,
    Parity,
    Provenance,
    ReferenceInfo,
    Tolerance,
    Variant,
)
from steersman.bundle.reference import pack_references
from steersman.bundle.repository import Repository
from steersman.bundle.session import CONTRACT_KEY, PolicySession
from steersman.bundle.specs import BoxAction, Contract, DiscreteAction, NoiseSpec, ObservationSpec
from steersman.monitoring.reference import build_reference

OPSET = 18
FEATURES = ("left", "right", "up", "down")
WEIGHTS = np.eye(4, 3, dtype=np.float32) * 4
"""The greedy action is the largest of the first three features."""
_FLOAT, _DOUBLE, _INT64, _BOOL = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.BOOL


def discrete_contract(start: int = 0, names: Sequence[str] = ()) -> Contract:
    """Four features, three actions."""
    observation = ObservationSpec(
        dtype="float32", shape=(4,), low=(-10.0,), high=(10.0,), feature_names=FEATURES
    )
    return Contract(
        observations=(observation,),
        action=DiscreteAction(n=3, start=start, names=tuple(names)),
        noise=NoiseSpec(law="uniform", width=3),
        distribution="categorical",
        outputs=("action", "sampled_action", "log_prob", "entropy", "distribution", "value"),
    )


def box_contract() -> Contract:
    """Four features, two continuous actions in [-1, 1]; the mean is the sum of pairs of features."""
    observation = ObservationSpec(
        dtype="float32", shape=(4,), low=(-10.0,), high=(10.0,), feature_names=FEATURES
    )
    return Contract(
        observations=(observation,),
        action=BoxAction(shape=(2,), low=(-1.0, -1.0), high=(1.0, 1.0)),
        noise=NoiseSpec(law="normal", width=2),
        distribution="gaussian",
        outputs=("action", "sampled_action", "log_prob", "entropy", "distribution", "value"),
    )


def publish_toy(
    root: Path,
    policy: str = "toy",
    contract: Contract | None = None,
    *,
    int8: bytes | None = None,
    weights: NDArray[np.float32] = WEIGHTS,
    certified: NDArray[np.float32] | None = None,
    graph: onnx.GraphProto | None = None,
) -> Bundle:
    """Writes the next version of a toy policy.

    Args:
        root: The repository.
        policy: Its name.
        contract: Its contract; four features and three actions if left out.
        int8: Content of a second variant.
        weights: Of the discrete policy.
        certified: Other weights whose answers the certificate holds, so that no host can certify it.
        graph: Another graph for the contract.
    """
    contract = contract or discrete_contract()
    digest = contract_digest(contract)
    if graph is None:
        graph = _discrete_graph(contract, weights) if contract.distribution == "categorical" else _box_graph()
    model = _model(graph, digest)
    witness = model if certified is None else _model(_discrete_graph(contract, certified), digest)
    models = {"fp32": ("policy.onnx", model)} | ({"int8": ("policy.int8.onnx", int8)} if int8 else {})
    files = {
        **dict(models.values()),
        CERTIFICATE_FILE: _certificate(witness, contract, digest).pack(),
        REFERENCE_FILE: pack_references(
            {mode: build_reference(*_episodes(model, contract, digest), contract) for mode in contract.modes}
        ),
    }

    def build(version: int, digests: dict[str, FileDigest]) -> Manifest:
        return Manifest(
            policy=policy,
            version=version,
            created=datetime(2026, 1, 1, tzinfo=UTC),
            provenance=Provenance(algorithm="PPO", zip_sha256="0" * 64),
            contract=contract,
            contract_digest=digest,
            opset=OPSET,
            variants={
                name: Variant(file=file, scheme="toy", size_bytes=len(data), tolerance=Tolerance(atol=1e-5))
                for name, (file, data) in models.items()
            },
            parity=Parity(states=1, disagreements=0, ties=0, max_action_error=0.0, max_parameter_error=0.0),
            reference=ReferenceInfo(synthetic=False, episodes=dict.fromkeys(contract.modes, 20)),
            files=digests,
        )

    return Repository(root).publish(policy, files, build)


def _certificate(model: bytes, contract: Contract, digest: str) -> Certificate:
    rng = np.random.default_rng(0)
    session = PolicySession(model, contract, digest, "toy")
    inputs = session.feeds(
        {"obs": rng.normal(size=(8, 4)).astype(np.float32)},
        noise=rng.random((8, contract.noise.width), dtype=np.float32) * 0.9 + 0.05
        if contract.noise
        else None,
    )
    names = ("action", "distribution", "value")
    return Certificate(
        inputs, dict(zip(names, session.run(names, inputs), strict=True)), np.zeros(8, np.bool_)
    )


def _episodes(
    model: bytes, contract: Contract, digest: str
) -> tuple[list[NDArray[np.float64]], list[NDArray[Any]]]:
    rng = np.random.default_rng(1)
    session = PolicySession(model, contract, digest, "toy")
    observations = [rng.normal(size=(30, 4)).astype(np.float32) for _ in range(20)]
    actions = [session.run(("action",), session.feeds({"obs": obs}))[0] for obs in observations]
    return [obs.astype(np.float64) for obs in observations], actions


def _model(graph: onnx.GraphProto, digest: str) -> bytes:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    model.metadata_props.add(key=CONTRACT_KEY, value=digest)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _constants(**arrays: NDArray[Any]) -> list[onnx.TensorProto]:
    return [numpy_helper.from_array(array, name) for name, array in arrays.items()]


def _info(name: str, kind: int, width: int | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, ["batch"] if width is None else ["batch", width])


def _node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], **attributes)


def _discrete_graph(contract: Contract, weights: NDArray[np.float32]) -> onnx.GraphProto:
    assert isinstance(contract.action, DiscreteAction)
    constants = _constants(
        weights=weights,
        never=np.float32(-np.inf),
        zero=np.float32(0),
        start=np.int64(contract.action.start),
        last=np.array([1], np.int64),
        column=np.array([-1], np.int64),
    )
    nodes = [
        _node("MatMul", "obs weights", "logits"),
        _node("Where", "action_mask logits never", "masked"),
        _node("LogSoftmax", "masked", "distribution", axis=1),
        _node("ArgMax", "masked", "greedy", axis=1, keepdims=0),
        _node("Add", "greedy start", "action"),
        _node("Log", "noise", "log_noise"),
        _node("Neg", "log_noise", "exponential"),
        _node("Log", "exponential", "minus_gumbel"),
        _node("Sub", "masked minus_gumbel", "perturbed"),
        _node("ArgMax", "perturbed", "sampled", axis=1, keepdims=0),
        _node("Add", "sampled start", "sampled_action"),
        _node("Unsqueeze", "sampled last", "index"),
        _node("GatherElements", "distribution index", "log_prob_column", axis=1),
        _node("Squeeze", "log_prob_column last", "log_prob"),
        _node("Exp", "distribution", "probabilities"),
        _node("Mul", "probabilities distribution", "products"),
        _node("Where", "action_mask products zero", "summands"),
        _node("ReduceSum", "summands last", "minus_entropy", keepdims=0),
        _node("Neg", "minus_entropy", "entropy"),
        _node("ReduceSum", "obs last", "value", keepdims=0),
    ]
    inputs = [_info("obs", _FLOAT, 4), _info("action_mask", _BOOL, 3), _info("noise", _FLOAT, 3)]
    outputs = [
        _info("action", _INT64, None),
        _info("sampled_action", _INT64, None),
        _info("log_prob", _FLOAT, None),
        _info("entropy", _FLOAT, None),
        _info("distribution", _FLOAT, 3),
        _info("value", _FLOAT, None),
    ]
    return helper.make_graph(nodes, "toy", inputs, outputs, constants)


def _box_graph() -> onnx.GraphProto:
    pairs = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.float32)
    constants = _constants(
        pairs=pairs,
        low=np.float32(-1),
        high=np.float32(1),
        last=np.array([1], np.int64),
        zeros=np.zeros((4, 2), np.float32),
        half=np.float32(-0.5),
        normalizer=np.float32(-np.log(2 * np.pi)),
        entropy_of_one=np.float32(1 + np.log(2 * np.pi)),
        none=np.zeros((4, 1), np.float32),
    )
    nodes = [
        _node("MatMul", "obs pairs", "mean"),
        _node("Clip", "mean low high", "action"),
        _node("Add", "mean noise", "unclipped"),
        _node("Clip", "unclipped low high", "sampled_action"),
        _node("Mul", "noise noise", "squares"),
        _node("ReduceSum", "squares last", "square", keepdims=0),
        _node("Mul", "square half", "exponent"),
        _node("Add", "exponent normalizer", "log_prob"),
        _node("MatMul", "obs zeros", "log_std"),
        _node("Concat", "mean log_std", "distribution", axis=1),
        _node("MatMul", "obs none", "nothing"),
        _node("Squeeze", "nothing last", "nought"),
        _node("Add", "nought entropy_of_one", "entropy"),
        _node("ReduceSum", "obs last", "value", keepdims=0),
    ]
    inputs = [_info("obs", _FLOAT, 4), _info("noise", _FLOAT, 2)]
    outputs = [
        _info("action", _FLOAT, 2),
        _info("sampled_action", _FLOAT, 2),
        _info("log_prob", _FLOAT, None),
        _info("entropy", _FLOAT, None),
        _info("distribution", _FLOAT, 4),
        _info("value", _FLOAT, None),
    ]
    return helper.make_graph(nodes, "toy", inputs, outputs, constants)
