"""The 8-bit candidates: what they hold, what they change, and that rows keep to themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO

from steersman.export.evidence.comparison import all_feeds, compare, measure_baseline
from steersman.export.policies.graph import check_graph
from steersman.export.policies.inputs import Inputs
from steersman.export.quantization.layers import find_layers
from steersman.export.quantization.quantize import quantize
from steersman.export.quantization.watching import watch
from steersman.export.vocabulary import Scheme
from unit.export.conftest import Graph
from unit.export.models import CASES, Case, Graphed
from unit.export.policies.made import ACTIONS, OBSERVATIONS, untrained
from unit.export.quantization.benched import assert_rows_alone, bench, run_time_operators
from unit.export.quantization.extractors import Tokens

QUANTIZED = [Scheme.STATIC_QDQ, Scheme.STATIC_QDQ_HIDDEN, Scheme.WEIGHT_ONLY]
RELU6 = Case("ReLU6", action="five", policy_kwargs={"activation_fn": torch.nn.ReLU6, "net_arch": [40, 24]})
TWO_LAYERED = [CASES[0], CASES[1], CASES[4], CASES[5], RELU6]


def quantized(made: Graphed, scheme: Scheme) -> onnx.ModelProto:
    feeds = made.session.feeds(made.observations(2_000, seed=9))
    model = quantize(made.bench.model, scheme, feeds)
    assert model is not None
    return check_graph(model)


def test_layers_are_found_with_their_places(graph: Graph) -> None:
    layers = find_layers(graph(CASES[0]).bench.model)
    assert sorted((layer.weights.shape, layer.first, layer.last) for layer in layers) == [
        ((1, 64), False, True),
        ((2, 64), False, True),
        *[((64, 3), True, False)] * 2,
        *[((64, 64), False, False)] * 2,
    ]


def test_watching_shows_what_flows_inside(graph: Graph) -> None:
    made = graph(CASES[0])
    layers = find_layers(made.bench.model)
    observations = made.observations(50)
    seen = watch(made.bench.model, layers, made.session.feeds(observations))
    first = next(layer for layer in layers if layer.first)
    assert (seen[first.name] == observations["obs"]).all()
    expected = np.tanh(observations["obs"] @ first.weights.T + first.bias)
    hidden = [seen[layer.name] for layer in layers if not layer.first]
    assert any(np.allclose(rows, expected, atol=1e-5) for rows in hidden)
    assert {rows.dtype for rows in hidden} == {np.dtype(np.float32)}


@pytest.mark.parametrize("scheme", QUANTIZED)
@pytest.mark.parametrize("case", TWO_LAYERED, ids=lambda case: case.name)
def test_rows_never_influence_each_other(graph: Graph, case: Case, scheme: Scheme) -> None:
    made = graph(case)
    session = made.bench.candidate(quantized(made, scheme), scheme).session
    assert_rows_alone(session, made.inputs(65).feeds())


@pytest.mark.parametrize("scheme", QUANTIZED)
def test_little_changes(graph: Graph, scheme: Scheme) -> None:
    made = graph(CASES[0])
    baseline = measure_baseline(made.session, Inputs(made.observations(4_000)))
    evidence = compare(made.bench.candidate(quantized(made, scheme), scheme).session, baseline)
    assert evidence.flips.flips < 0.02 * evidence.flips.states
    assert evidence.mean_total_variation is not None
    assert 0 < evidence.mean_total_variation < 0.02


def test_weights_are_held_in_eight_bits_and_unpacked_when_loaded(graph: Graph, tmp_path: Path) -> None:
    made = graph(CASES[0])
    model = quantized(made, Scheme.WEIGHT_ONLY)
    held = {t.name: t for t in model.graph.initializer}
    big = [t for t in held.values() if np.prod(t.dims) >= 64 * 64]
    assert {t.data_type for t in big} == {onnx.TensorProto.INT8}
    assert len(model.SerializeToString()) < 0.5 * len(made.bench.model.SerializeToString())
    assert "Cast" not in run_time_operators(model, tmp_path)[:3]


def test_static_layers_become_integer_ones(graph: Graph, tmp_path: Path) -> None:
    made = graph(CASES[0])
    for scheme, expected in ((Scheme.STATIC_QDQ, 6), (Scheme.STATIC_QDQ_HIDDEN, 2)):
        assert run_time_operators(quantized(made, scheme), tmp_path).count("QGemm") == expected


@pytest.mark.parametrize("case", [CASES[5], RELU6], ids=lambda case: case.name)
def test_clipped_layers_become_integer_ones_too(graph: Graph, tmp_path: Path, case: Case) -> None:
    model = quantized(graph(case), Scheme.STATIC_QDQ_HIDDEN)
    assert run_time_operators(model, tmp_path).count("QGemm") == 2


def test_schemes_without_layers_make_nothing(graph: Graph) -> None:
    made = graph(next(case for case in CASES if case.policy_kwargs == {"net_arch": []}))
    feeds = made.session.feeds(made.observations(10))
    assert quantize(made.bench.model, Scheme.STATIC_QDQ_HIDDEN, feeds) is None
    assert quantize(made.bench.model, Scheme.STATIC_QDQ_CONV, feeds) is None


def test_memory_cells_are_layers_too(tmp_path: Path) -> None:
    space, action = OBSERVATIONS["flat"](), ACTIONS["switches"]()
    made = bench(untrained(RecurrentPPO, space, action, "MlpLstmPolicy", lstm_hidden_size=16))
    model = made.quantized(Scheme.STATIC_QDQ)
    operators = run_time_operators(model, tmp_path)
    assert operators.count("QGemm") == len(find_layers(made.bench.model))
    assert_rows_alone(made.load(model, Scheme.STATIC_QDQ), made.feeds(33))


@pytest.mark.parametrize("scheme", [Scheme.STATIC_QDQ, Scheme.WEIGHT_ONLY])
def test_layers_over_sequences_are_matrix_products(tmp_path: Path, scheme: Scheme) -> None:
    space, action = spaces.Box(-3, 3, (4, 20), np.float32), ACTIONS["five"]()
    made = bench(untrained(PPO, space, action, features_extractor_class=Tokens))
    model = made.quantized(scheme)
    held = {t.data_type for t in model.graph.initializer if len(t.dims) == 2 and np.prod(t.dims) >= 80}
    assert held == {onnx.TensorProto.INT8}
    integer = run_time_operators(model, tmp_path).count("MatMulIntegerToFloat")
    assert integer == (2 if scheme is Scheme.STATIC_QDQ else 0)
    session = made.load(model, scheme)
    assert_rows_alone(session, made.feeds(33))
    baseline = measure_baseline(made.session, made.inputs(500))
    assert compare(session, baseline).flips.flips < 25


def test_feeds_that_are_not_given_take_no_memory(graph: Graph) -> None:
    made = graph(CASES[0])
    feeds = all_feeds(made.session, Inputs(made.observations(1_000)))
    assert feeds["noise"].shape == (1_000, 2)
    assert feeds["noise"].strides[0] == 0
