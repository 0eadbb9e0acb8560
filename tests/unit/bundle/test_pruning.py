"""Cutting graphs: what is left is what `onnx` says is needed, with the same bits; none is cut in doubt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import chain, combinations
from typing import Any

import onnx
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO, SAC

from steersman.bundle.bundle import Bundle
from steersman.bundle.pruning import prune
from steersman.export.vocabulary import Scheme
from unit.export.policies.made import ACTIONS, OBSERVATIONS, untrained
from unit.export.policies.off_policy import off_policy
from unit.export.quantization.benched import Benched, bench

Array = NDArray[Any]
FLAT = OBSERVATIONS["flat"]
POLICIES: dict[str, Callable[[], Benched]] = {
    "PPO": lambda: bench(untrained(PPO, FLAT(), ACTIONS["ragged"](), net_arch=[16, 16])),
    "SAC": lambda: bench(off_policy(SAC, FLAT(), ACTIONS["arm"](), net_arch=[16, 16])),
    "RecurrentPPO": lambda: bench(
        untrained(
            RecurrentPPO, FLAT(), ACTIONS["five"](), "MlpLstmPolicy", lstm_hidden_size=16, net_arch=[16]
        )
    ),
}


@lru_cache
def policy(name: str) -> Benched:
    """Exported once."""
    return POLICIES[name]()


def subsets(names: Sequence[str]) -> list[tuple[str, ...]]:
    """All but the empty one."""
    return list(chain.from_iterable(combinations(names, n + 1) for n in range(len(names))))


def load(model: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(session: ort.InferenceSession, names: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
    found: Any = session.run(names, feeds)
    return list(found)


def cut(model: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    """The same by `onnx`, which must list nodes in the order in which they run."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph, needed = made.graph, set(outputs)
    for node in reversed(list(graph.node)):
        if needed & set(node.output) - {""}:
            needed |= {*node.input, *node.output} - {""}
        else:
            graph.node.remove(node)
    for entries in (graph.initializer, graph.input, graph.value_info):
        for entry in [entry for entry in entries if entry.name not in needed]:
            entries.remove(entry)  # type: ignore[arg-type]  # each from its own
    for value in [value for value in graph.output if value.name not in outputs]:
        graph.output.remove(value)
    return made


@pytest.mark.parametrize("scheme", [Scheme.FLOAT32, Scheme.STATIC_QDQ])
@pytest.mark.parametrize("name", POLICIES)
def test_every_set_of_outputs_of_a_policy_has_the_bits_of_the_whole_graph(name: str, scheme: Scheme) -> None:
    made = policy(name)
    model = made.bench.model if scheme is Scheme.FLOAT32 else made.quantized(scheme)
    data, names, feeds = model.SerializeToString(), made.contract.outputs, made.feeds(33)
    whole = dict(zip(names, run(load(data), names, feeds), strict=True))
    for wanted in subsets(names):
        pruned = prune(data, wanted)
        assert pruned is not None
        session = load(pruned)
        assert {output.name for output in session.get_outputs()} == set(wanted)
        taken = {entry.name: feeds[entry.name] for entry in session.get_inputs()}
        for rows in (slice(None), slice(0, 1), slice(7, 8)):
            found = run(session, wanted, {key: array[rows] for key, array in taken.items()})
            for output, array in zip(wanted, found, strict=True):
                assert array.tobytes() == whole[output][rows].tobytes(), (wanted, output, rows)


@pytest.mark.parametrize("name", POLICIES)
def test_the_greedy_action_needs_less(name: str) -> None:
    model = policy(name).bench.model
    pruned = prune(model.SerializeToString(), ("action",))
    assert pruned is not None
    left = onnx.load_from_string(pruned)
    assert len(left.graph.node) < 0.7 * len(model.graph.node)
    assert "noise" not in {value.name for value in left.graph.input}
    assert left == cut(model, ("action",))


@st.composite
def models(draw: st.DrawFn) -> onnx.ModelProto:
    """Any graph without subgraphs: nodes of several outputs, optional ones, and tensors of every origin."""
    inputs = [f"input{i}" for i in range(draw(st.integers(1, 3)))]
    weights = [f"weight{i}" for i in range(draw(st.integers(0, 3)))]
    known, nodes = [*inputs, *weights], []
    for i in range(draw(st.integers(0, 12))):
        takes = draw(st.lists(st.sampled_from([*known, ""]), max_size=3))
        makes = [draw(st.sampled_from([f"node{i}.{j}", ""])) for j in range(draw(st.integers(1, 3)))]
        nodes.append(helper.make_node("Any", takes, makes, name=f"node{i}", size=i * 1000))
        known += [name for name in makes if name]
    info = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 300]) for name in known}
    outputs = draw(st.lists(st.sampled_from(known), min_size=1, max_size=4, unique=True))
    graph = helper.make_graph(
        nodes,
        "any",
        [info[name] for name in inputs],
        [info[name] for name in outputs],
        [helper.make_tensor(name, TensorProto.FLOAT, [40], [0.5] * 40) for name in weights],
        doc_string="kept",
        value_info=[info[name] for name in draw(st.lists(st.sampled_from(known), unique=True))],
    )
    model = helper.make_model(graph, doc_string="kept too")
    model.metadata_props.add(key="key", value="value")
    function = helper.make_function("own", "Any", ["x"], ["y"], [], [helper.make_opsetid("", 18)])
    model.functions.append(function)
    return model


@given(model=models(), data=st.data())
def test_what_is_left_is_what_onnx_says_is_needed(model: onnx.ModelProto, data: st.DataObject) -> None:
    names = [value.name for value in model.graph.output]
    wanted = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    pruned = prune(model.SerializeToString(), wanted)
    assert pruned == cut(model, wanted).SerializeToString()


def with_subgraph(model: onnx.ModelProto) -> None:
    value = helper.make_tensor_value_info("inner", TensorProto.FLOAT, [])
    branch = helper.make_graph([], "branch", [], [value])
    model.graph.node.append(helper.make_node("If", ["noise"], ["out"], then_branch=branch))


def with_subgraphs(model: onnx.ModelProto) -> None:
    node = helper.make_node("Any", ["noise"], ["out"], domain="own")
    attribute = node.attribute.add(name="branches", type=onnx.AttributeProto.GRAPHS)
    attribute.graphs.add(name="branch")
    model.graph.node.append(node)


def with_external_weights(model: onnx.ModelProto) -> None:
    weight = model.graph.initializer.add(name="far", data_type=TensorProto.FLOAT, dims=[3])
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="weights.bin")


def with_sparse_weights(model: onnx.ModelProto) -> None:
    model.graph.sparse_initializer.add().values.name = "sparse"


def with_annotations(model: onnx.ModelProto) -> None:
    model.graph.quantization_annotation.add(tensor_name="logits")


def with_training(model: onnx.ModelProto) -> None:
    model.training_info.add()


@pytest.mark.parametrize(
    "change",
    [
        *(with_subgraph, with_subgraphs, with_external_weights, with_sparse_weights),
        *(with_annotations, with_training),
    ],
)
def test_graphs_that_are_not_plain_are_left_alone(
    toy: Bundle, change: Callable[[onnx.ModelProto], None]
) -> None:
    model = onnx.load_from_string(toy.read("policy.onnx"))
    assert prune(model.SerializeToString(), ("action",)) is not None
    change(model)
    assert prune(model.SerializeToString(), ("action",)) is None


def test_outputs_that_are_not_there_cannot_be_kept(toy: Bundle) -> None:
    data = toy.read("policy.onnx")
    assert prune(data, ("action", "surprise")) is None
    assert prune(data, ("logits",)) is None  # inside


@pytest.mark.parametrize(
    "model",
    [
        b"",
        b"no graph",
        b"\x3a",  # a graph without its length
        b"\x3a\x05\x0a",  # one that ends too early
        b"\x38\x01",  # a number in the place of the graph
        b"\x3a\x02\x08\x01",  # a number in the place of a node
        b"\x3a\x03\x0a\x01\xff",  # a node that is no message
        b"\x3a\x00\x3a\x00",  # two graphs
        b"\x3b\x3c",  # a group, which protobuf gave up
        b"\x02\x00",  # field 0
        b"\xff" * 11,  # a number without end
        b"\x3d\x00",  # a fixed number cut short
    ],
)
def test_bytes_that_are_no_model_are_left_alone(model: bytes) -> None:
    assert prune(model, ("action",)) is None


@given(data=st.data())
def test_damaged_models_never_raise(toy: Bundle, data: st.DataObject) -> None:
    model = bytearray(toy.read("policy.onnx"))
    for _ in range(data.draw(st.integers(1, 4))):
        model[data.draw(st.integers(0, len(model) - 1))] = data.draw(st.integers(0, 255))
    pruned = prune(bytes(model[: data.draw(st.integers(0, len(model)))]), ("action",))
    assert pruned is None or len(pruned) <= len(model)
