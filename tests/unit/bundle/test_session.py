"""Loading a graph: bound to its contract, refused when it is something else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from steersman.bundle.bundle import Bundle
from steersman.bundle.errors import BundleCorruptError
from steersman.bundle.session import MOST_PARTS, PolicySession, reason, usual_outputs
from support.toy_bundle import discrete_contract

GREEDY, SAMPLED = ("action", "distribution"), ("sampled_action", "log_prob", "distribution")


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


def some_rows(session: PolicySession, count: int = 9) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    mask = rng.random((count, 3)) < 0.7
    mask[:, 1] = True
    noise = rng.uniform(0.05, 0.95, (count, 3)).astype(np.float32)
    return session.feeds({"obs": rng.normal(size=(count, 4)).astype(np.float32)}, mask, noise)


@pytest.mark.parametrize("outputs", [GREEDY, SAMPLED, ("value", "entropy")])
def test_prepared_calls_answer_as_before(
    toy: Bundle, session: PolicySession, outputs: tuple[str, ...]
) -> None:
    rows = some_rows(session)
    before = session.run(outputs, rows)
    assert session.prepare(toy.read("policy.onnx"), outputs, rows)
    assert session.prepared == (outputs,)
    for found, expected in zip(session.run(list(outputs), rows), before, strict=True):
        assert found.tobytes() == expected.tobytes()
    assert session.run((*outputs, "action"), rows)[0].tobytes() == before[0].tobytes()


def test_prepared_calls_run_what_they_need_only(toy: Bundle, session: PolicySession) -> None:
    rows = some_rows(session)
    assert session.prepare(toy.read("policy.onnx"), GREEDY, rows)
    without = {name: array for name, array in rows.items() if name != "noise"}
    assert session.run(GREEDY, without)[0].tolist() == session.run(("action",), rows)[0].tolist()
    with pytest.raises(ValueError, match="noise"):
        session.run(("action",), without)


def test_preparing_again_changes_nothing(toy: Bundle, session: PolicySession) -> None:
    model, rows = toy.read("policy.onnx"), some_rows(session)
    assert [session.prepare(model, GREEDY, rows) for _ in range(MOST_PARTS + 1)] == [True] * (MOST_PARTS + 1)
    assert session.prepared == (GREEDY,)


def test_there_are_some_parts_at_most(
    toy: Bundle, session: PolicySession, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, rows = toy.read("policy.onnx"), some_rows(session)
    calls = [(name,) for name in session.contract.outputs]
    assert [session.prepare(model, call, rows) for call in calls] == [True] * 4 + [False] * 2
    assert [session.run(call, rows)[0].shape[0] for call in calls] == [9] * 6
    monkeypatch.setattr("steersman.bundle.session.LARGE_MODEL", len(model) - 1)
    large = load(toy, model)
    assert [large.prepare(model, call, rows) for call in calls] == [True] + [False] * 5


def triple_weights(model: onnx.ModelProto) -> None:
    (weights,) = (tensor for tensor in model.graph.initializer if tensor.name == "weights")
    weights.CopyFrom(numpy_helper.from_array(np.eye(4, 3, dtype=np.float32) * 12, "weights"))


def unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Nonsense"


def unused_weights(model: onnx.ModelProto) -> None:
    del model.graph.initializer[[tensor.name for tensor in model.graph.initializer].index("column")]


@pytest.mark.parametrize(
    ("change", "outputs"),
    [
        (triple_weights, GREEDY),  # a part that answers otherwise
        (unknown_operator, GREEDY),  # one that cannot be loaded
        (unused_weights, discrete_contract().outputs),  # then there is nothing to leave out
        (unused_weights, ("action", "surprise")),
    ],
)
def test_without_a_part_that_does_the_same_the_whole_graph_answers(
    toy: Bundle, session: PolicySession, change: Callable[[onnx.ModelProto], None], outputs: tuple[str, ...]
) -> None:
    rows = some_rows(session)
    before = session.run(discrete_contract().outputs, rows)
    assert not session.prepare(changed_graph(toy, change), outputs, rows)
    assert session.prepared == ()
    for found, expected in zip(session.run(discrete_contract().outputs, rows), before, strict=True):
        assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("offered", "greedy", "sampled"),
    [
        (discrete_contract().outputs, GREEDY, SAMPLED),
        (("action", "distribution", "value"), GREEDY, ("distribution",)),
        (("action",), ("action",), ()),
        (
            ("action", "sampled_action", "log_prob", "distribution", "next_state/h", "next_state/c"),
            (*GREEDY, "next_state/h", "next_state/c"),
            (*SAMPLED, "next_state/h", "next_state/c"),
        ),
    ],
)
def test_a_decision_takes_the_action_what_shows_nan_and_the_state(
    offered: tuple[str, ...], greedy: tuple[str, ...], sampled: tuple[str, ...]
) -> None:
    assert usual_outputs(offered, "greedy") == greedy
    assert usual_outputs(offered, "sampled") == sampled


def test_reasons_are_one_line_without_paths() -> None:
    said = RuntimeError("[Fail] /onnxruntime_src/core/a.cc:12 bad\n  input: obs/lidar")
    assert reason(said) == "[Fail] … bad input: obs/lidar"
    assert reason(RuntimeError()) == "RuntimeError"
