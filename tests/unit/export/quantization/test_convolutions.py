"""Convolutions in 8 bits: fused by the runtime, close to fp32, and every row by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from stable_baselines3 import PPO, SAC

from steersman.export.evidence.comparison import compare, measure_baseline
from steersman.export.quantization.layers import find_layers
from steersman.export.quantization.patches import PATCHES, Kernel
from steersman.export.quantization.watching import watch
from steersman.export.vocabulary import Scheme
from unit.export.policies.made import ACTIONS, untrained
from unit.export.policies.off_policy import off_policy
from unit.export.quantization.benched import Benched, assert_rows_alone, bench, run_time_operators
from unit.export.quantization.extractors import LAYERS, Residual, Stacked

Array = NDArray[Any]
IMAGE = spaces.Box(0, 255, (3, 36, 36), np.uint8)
ROWS = 33


@pytest.fixture(scope="module")
def nature() -> Benched:
    return bench(untrained(PPO, IMAGE, ACTIONS["five"](), "CnnPolicy"))


def test_a_convolution_is_its_patches_times_its_weights(nature: Benched) -> None:
    layers = [layer for layer in find_layers(nature.bench.model) if layer.kernel is not None]
    assert [layer.weights.shape for layer in layers] == [(32, 3 * 64), (64, 32 * 16), (64, 64 * 9)]
    feeds = nature.feeds(5)
    patches = watch(nature.bench.model, layers, feeds)[layers[0].name]
    weights = torch.from_numpy(layers[0].held(layers[0].weights))
    whole = torch.conv2d(torch.from_numpy(feeds["obs"] / 255.0), weights, stride=4).numpy()
    values = patches @ layers[0].weights.T
    assert values.shape == (5 * PATCHES, 32)
    for i, row in enumerate(values.reshape(5, PATCHES, 32)):
        places = whole[i].reshape(32, -1).T
        assert all(np.abs(places - value).max(axis=1).min() < 1e-4 for value in row)


kernels = st.builds(
    lambda axes: Kernel(*(tuple(numbers) for numbers in zip(*axes, strict=True))),
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 2), *[st.integers(0, 2)] * 2),
        min_size=1,
        max_size=3,
    ),
)


@given(kernels, st.integers(0, 9))
def test_patches_of_any_geometry_are_torchs(kernel: Kernel, seed: int) -> None:
    axes = len(kernel.shape)
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(2, 2, *rng.integers(5, 8, size=axes)))
    weights = rng.normal(size=(1, 2, *kernel.shape))
    sides = list(zip(kernel.before, kernel.after, strict=True))
    padded = torch.from_numpy(np.pad(inputs, [(0, 0), (0, 0), *sides]))
    convolve: Any = (torch.conv1d, torch.conv2d, torch.conv3d)[axes - 1]
    whole = convolve(
        padded, torch.from_numpy(weights), stride=kernel.strides, dilation=kernel.dilations
    ).numpy()
    values = kernel.patches(inputs, seed) @ weights.ravel()
    for i, row in enumerate(values.reshape(2, PATCHES)):
        assert all(np.abs(whole[i].ravel() - value).min() < 1e-5 for value in row)


def test_an_image_policy_becomes_integer_from_its_bytes_on(nature: Benched, tmp_path: Path) -> None:
    operators = run_time_operators(nature.quantized(Scheme.STATIC_QDQ_CONV), tmp_path)
    computing = [op for op in operators if "Conv" in op or "Gemm" in op]
    assert computing == ["QLinearConv"] * 3 + ["QGemm"] * 3
    assert not {"Cast", "Div", "QuantizeLinear"} & set(operators[: operators.index("QGemm")])


def test_convolutions_can_stay_as_they_are(nature: Benched, tmp_path: Path) -> None:
    operators = run_time_operators(nature.quantized(Scheme.STATIC_QDQ), tmp_path)
    assert [op for op in operators if "Conv" in op or "Gemm" in op] == ["Conv"] * 3 + ["QGemm"] * 3


def test_all_weights_can_be_held_in_eight_bits(nature: Benched, tmp_path: Path) -> None:
    model = nature.quantized(Scheme.WEIGHT_ONLY)
    assert len(model.SerializeToString()) < 0.3 * len(nature.bench.model.SerializeToString())
    operators = run_time_operators(model, tmp_path)
    assert operators.count("Conv") == 3
    assert operators.count("Cast") == run_time_operators(nature.bench.model, tmp_path).count("Cast")


@pytest.mark.parametrize("scheme", [Scheme.STATIC_QDQ, Scheme.STATIC_QDQ_CONV, Scheme.WEIGHT_ONLY])
def test_little_changes_and_rows_stay_alone(nature: Benched, scheme: Scheme) -> None:
    session = nature.load(nature.quantized(scheme), scheme)
    assert_rows_alone(session, nature.feeds(ROWS))
    evidence = compare(session, measure_baseline(nature.session, nature.inputs(400)))
    assert evidence.mean_total_variation is not None
    assert evidence.mean_total_variation < 0.02
    assert evidence.flips.flips < 20


def test_separate_extractors_of_continuous_actions(tmp_path: Path) -> None:
    made = bench(off_policy(SAC, IMAGE, ACTIONS["arm"](), "CnnPolicy"))
    model = made.quantized(Scheme.STATIC_QDQ_CONV)
    assert run_time_operators(model, tmp_path).count("QLinearConv") == 3
    assert_rows_alone(made.load(model, Scheme.STATIC_QDQ_CONV), made.feeds(ROWS))


@pytest.mark.parametrize("layers", [*LAYERS, "residual"])
def test_networks_of_users_own(layers: str, tmp_path: Path) -> None:
    extractor: dict[str, Any] = {"features_extractor_class": Residual}
    if layers in LAYERS:
        extractor = {"features_extractor_class": Stacked, "features_extractor_kwargs": {"layers": layers}}
    made = bench(untrained(PPO, IMAGE, ACTIONS["five"](), "CnnPolicy", **extractor))
    model = made.quantized(Scheme.STATIC_QDQ_CONV)
    operators = run_time_operators(model, tmp_path)
    convolutions = sum(node.op_type == "Conv" for node in made.bench.model.graph.node)
    assert operators.count("QLinearConv") == convolutions
    session = made.load(model, Scheme.STATIC_QDQ_CONV)
    assert_rows_alone(session, made.feeds(ROWS))
    assert compare(session, measure_baseline(made.session, made.inputs(400))).flips.flips < 20
