"""The 8-bit candidates: what they hold, what they change, and that rows keep to themselves."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from steersman.export.evidence.comparison import compare, measure_baseline
from steersman.export.evidence.parity import draw_inputs
from steersman.export.policies.graph import check_graph
from steersman.export.quantization.layers import find_layers, watch
from steersman.export.quantization.quantize import input_scale, quantize
from steersman.export.vocabulary import Scheme
from unit.export.conftest import Graph
from unit.export.models import CASES, Case, Graphed

QUANTIZED = [Scheme.STATIC_QDQ, Scheme.STATIC_QDQ_HIDDEN, Scheme.WEIGHT_ONLY]
RELU6 = Case("ReLU6", action="five", policy_kwargs={"activation_fn": torch.nn.ReLU6, "net_arch": [40, 24]})
TWO_LAYERED = [CASES[0], CASES[1], CASES[4], CASES[5], RELU6]


def quantized(made: Graphed, scheme: Scheme) -> onnx.ModelProto:
    feeds = made.session.feeds({"obs": made.observations(2_000, seed=9)})
    model = quantize(made.bench.model, scheme, feeds, tail=1e-3)
    assert model is not None
    return check_graph(model)


def test_layers_are_found_in_order(graph: Graph) -> None:
    layers = find_layers(graph(CASES[0]).bench.model)
    assert [(layer.weights.shape, layer.first, layer.last) for layer in layers] == [
        *[((64, 3), True, False), ((64, 64), False, False)] * 2,
        ((2, 64), False, True),
        ((1, 64), False, True),
    ]


def test_watching_shows_what_flows_inside(graph: Graph) -> None:
    made = graph(CASES[0])
    first = find_layers(made.bench.model)[0]
    observations = made.observations(50)
    feeds = made.session.feeds({"obs": observations})
    seen = watch(made.bench.model, ["obs", first.name], feeds)
    assert (seen["obs"] == observations).all()
    assert np.allclose(seen[first.name], observations @ first.weights.T + first.bias, atol=1e-5)


@pytest.mark.parametrize("scheme", QUANTIZED)
@pytest.mark.parametrize("case", TWO_LAYERED, ids=lambda case: case.name)
def test_rows_never_influence_each_other(graph: Graph, case: Case, scheme: Scheme) -> None:
    made = graph(case)
    session = made.bench.candidate(quantized(made, scheme), scheme).session
    names = made.bench.contract.outputs
    feeds = draw_inputs(made.observations(65), made.bench.contract, np.random.default_rng(2)).feeds(
        made.bench.contract
    )
    whole = session.run(names, feeds)
    for size in (1, 3, 8):
        for first in range(0, 65, size):
            rows = {name: array[first : first + size] for name, array in feeds.items()}
            for name, part, full in zip(names, session.run(names, rows), whole, strict=True):
                assert part.tobytes() == full[first : first + size].tobytes(), (name, size, first)


@pytest.mark.parametrize("scheme", QUANTIZED)
def test_little_changes(graph: Graph, scheme: Scheme) -> None:
    made = graph(CASES[0])
    baseline = measure_baseline(made.session, made.observations(4_000))
    evidence = compare(made.bench.candidate(quantized(made, scheme), scheme).session, baseline)
    assert evidence.flips.flips < 0.02 * evidence.flips.states
    assert 0 < evidence.mean_total_variation < 0.02


def test_weights_are_held_in_eight_bits_and_unpacked_when_loaded(graph: Graph, tmp_path: str) -> None:
    made = graph(CASES[0])
    model = quantized(made, Scheme.WEIGHT_ONLY)
    held = {t.name: t for t in model.graph.initializer}
    big = [t for t in held.values() if np.prod(t.dims) >= 64 * 64]
    assert {t.data_type for t in big} == {onnx.TensorProto.INT8}
    assert len(model.SerializeToString()) < 0.5 * len(made.bench.model.SerializeToString())
    assert "Cast" not in _run_time_operators(model, f"{tmp_path}/optimized.onnx")[:3]


def test_static_layers_become_integer_ones(graph: Graph, tmp_path: str) -> None:
    made = graph(CASES[0])
    for scheme, expected in ((Scheme.STATIC_QDQ, 6), (Scheme.STATIC_QDQ_HIDDEN, 2)):
        operators = _run_time_operators(quantized(made, scheme), f"{tmp_path}/optimized.onnx")
        assert operators.count("QGemm") == expected


@pytest.mark.parametrize("case", [CASES[5], RELU6], ids=lambda case: case.name)
def test_clipped_layers_become_integer_ones_too(graph: Graph, tmp_path: str, case: Case) -> None:
    operators = _run_time_operators(quantized(graph(case), Scheme.STATIC_QDQ_HIDDEN), f"{tmp_path}/o.onnx")
    assert operators.count("QGemm") == 2


def test_schemes_without_layers_make_nothing(graph: Graph) -> None:
    made = graph(next(case for case in CASES if case.policy_kwargs == {"net_arch": []}))
    feeds = made.session.feeds({"obs": made.observations(10)})
    assert quantize(made.bench.model, Scheme.STATIC_QDQ_HIDDEN, feeds) is None


def test_input_scales_keep_zero_and_cover_the_range() -> None:
    inputs = np.linspace(-0.3, 2.0, 1_001).reshape(-1, 1)
    scale = input_scale(inputs, 0.0)
    assert scale.applied(np.zeros((1, 1)))[0, 0] == 0
    assert np.abs(scale.applied(inputs) - inputs).max() <= 0.51 * scale.scale
    narrow = input_scale(inputs, 0.01)
    assert narrow.scale < scale.scale
    assert narrow.applied(np.array([[99.0]]))[0, 0] == pytest.approx(1.977, abs=0.02)
    assert input_scale(np.zeros((5, 1)), 0.0).applied(np.zeros((5, 1))).max() == 0


def _run_time_operators(model: onnx.ModelProto, path: str) -> list[str]:
    options = ort.SessionOptions()
    options.optimized_model_filepath = path
    options.log_severity_level = 3
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(path).graph.node]
