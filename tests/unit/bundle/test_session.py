"""Loading a graph: bound to its contract, refused when it is something else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from steersman.bundle.bundle import Bundle
from steersman.bundle.errors import BundleCorruptError
from steersman.bundle.session import PolicySession, reason


@pytest.fixture
def session(toy: Bundle) -> PolicySession:
    manifest = toy.manifest
    return PolicySession(toy.read("policy.onnx"), manifest.contract, manifest.contract_digest, "toy")


def test_a_graph_answers_what_is_asked_of_it(session: PolicySession) -> None:
    assert session.inputs == {"obs", "action_mask", "noise"}
    observations = np.array([[0, 0, 1, 0], [0, 2, 1, 0]], np.float32)
    value, action = session.run(("value", "action"), session.feeds({"obs": observations}))
    assert value.tolist() == [1.0, 3.0]
    assert action.tolist() == [2, 1]


def test_masks_and_noise_are_added_only_where_they_are_missing(session: PolicySession) -> None:
    observations = np.zeros((3, 4), np.float32)
    feeds = session.feeds({"obs": observations})
    assert feeds["action_mask"].all()
    assert feeds["action_mask"].shape == feeds["noise"].shape == (3, 3)
    mask, noise = np.eye(3, dtype=np.bool_), np.full((3, 3), 0.25, np.float32)
    feeds = session.feeds({"obs": observations}, mask, noise)
    assert feeds["action_mask"] is mask
    assert feeds["noise"] is noise
    assert session.run(("action",), feeds)[0].tolist() == [0, 1, 2]


def test_a_graph_of_another_contract_is_refused(toy: Bundle) -> None:
    with pytest.raises(BundleCorruptError, match="toy: the graph was made for another contract"):
        PolicySession(toy.read("policy.onnx"), toy.manifest.contract, "0" * 64, "toy")


@pytest.mark.parametrize("model", [b"", b"no graph", b"\x08\x0a"])
def test_bytes_that_are_no_graph_are_refused(toy: Bundle, model: bytes) -> None:
    with pytest.raises(BundleCorruptError, match="cannot load the graph"):
        PolicySession(model, toy.manifest.contract, toy.manifest.contract_digest, "toy")


def changed_graph(toy: Bundle, change: Callable[[onnx.ModelProto], object]) -> bytes:
    model = onnx.load_from_string(toy.read("policy.onnx"))
    change(model)
    return bytes(model.SerializeToString())


def rename_input(model: onnx.ModelProto, old: str, new: str) -> None:
    model.graph.input[[node.name for node in model.graph.input].index(old)].name = new
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]


def load(toy: Bundle, model: bytes) -> PolicySession:
    return PolicySession(model, toy.manifest.contract, toy.manifest.contract_digest, "toy")


def test_a_graph_with_other_inputs_than_its_contract_s_is_refused(toy: Bundle) -> None:
    model = changed_graph(toy, lambda m: rename_input(m, "obs", "observation"))
    with pytest.raises(BundleCorruptError, match=r"noise, observation; expected .*obs by"):
        load(toy, model)


def test_a_graph_with_an_input_too_many_is_refused(toy: Bundle) -> None:
    extra = onnx.helper.make_tensor_value_info("state/h", onnx.TensorProto.FLOAT, ["batch", 2])
    with pytest.raises(BundleCorruptError, match="takes action_mask, noise, obs, state/h"):
        load(toy, changed_graph(toy, lambda m: m.graph.input.append(extra)))


def test_a_graph_that_lacks_an_output_is_refused(toy: Bundle) -> None:
    with pytest.raises(BundleCorruptError, match="does not give value of its contract"):
        load(toy, changed_graph(toy, lambda m: m.graph.output.pop()))


def test_reasons_are_one_line_without_paths() -> None:
    said = RuntimeError("[Fail] /onnxruntime_src/core/a.cc:12 bad\n  input: obs/lidar")
    assert reason(said) == "[Fail] … bad input: obs/lidar"
    assert reason(RuntimeError()) == "RuntimeError"
