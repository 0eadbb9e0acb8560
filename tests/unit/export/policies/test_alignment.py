"""Whatever layers a policy brings, its rows have the same bits in every company."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from steersman.bundle.specs import BoxAction, Contract, ObservationSpec
from steersman.export.policies.alignment import align_rows
from steersman.export.policies.graph import build_graph

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    **{
        name: getattr(nn, name)
        for name in (
            *("ELU", "SELU", "CELU", "Mish", "Softplus", "LogSigmoid", "GELU", "SiLU", "Hardswish"),
            *("Hardsigmoid", "Hardtanh", "ReLU6", "LeakyReLU", "PReLU", "Softsign", "Tanhshrink"),
            *("Softshrink", "Hardshrink", "Sigmoid", "Tanh", "ReLU", "Identity"),
        )
    },
    "CELU of half": lambda: nn.CELU(0.5),
    "Softplus of two": lambda: nn.Softplus(2.0, 5.0),
    "GELU by tanh": lambda: nn.GELU("tanh"),
    "PReLU each": lambda: nn.PReLU(7),
    "Softmax": lambda: nn.Softmax(-1),
    "LogSoftmax": lambda: nn.LogSoftmax(-1),
    "LayerNorm": lambda: nn.LayerNorm(7),
    "RMSNorm": lambda: nn.RMSNorm(7),
    "BatchNorm": lambda: nn.BatchNorm1d(7),
}


def all_bits(doubles: Tensor) -> Tensor:
    """[N, K] doubles as [N, 3K] floats, whose sum they are: one float would hide the last bits."""
    high = doubles.float()
    rest = doubles - high.double()
    middle = rest.float()
    return torch.cat([high, middle, (rest - middle.double()).float()], dim=1)


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "log twice": lambda x: torch.log(-torch.log(torch.sigmoid(x))),
    "double log": lambda x: all_bits(torch.log(x.double().abs() + 1)),
    "double exp": lambda x: all_bits(torch.exp(x.double())),
    "double sigmoid": lambda x: all_bits(torch.sigmoid(x.double())),
    "double tanh": lambda x: all_bits(torch.tanh(x.double())),
    "waves": lambda x: torch.cat([x.sin(), x.cos()], 1),
    "angles": torch.atan,
    "elu": functional.elu,
    "sum": lambda x: x.sum(1),
    "mean kept": lambda x: x - x.mean(1, keepdim=True),
    "spread": lambda x: x.std(1, keepdim=True),
    "log of sum": lambda x: x.exp().sum(1).log(),
    "normalized": lambda x: functional.normalize(x, dim=1),
    "sum of columns": lambda x: x.reshape(-1, 7, 1).sum(1),
    "mean of a tensor": lambda x: x.unsqueeze(1).unsqueeze(3).mean((1, 3)),
}
IMAGES: dict[str, Callable[[], nn.Module]] = {
    "convolutions": lambda: nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.Tanh(), nn.Conv2d(5, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ELU()
    ),
    "pools": lambda: nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.Mish(), nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1)
    ),
    "depth-wise": lambda: nn.Sequential(nn.Conv2d(3, 9, 3, groups=3), nn.SELU(), nn.Conv2d(9, 5, 1)),
}


class Side(nn.Module):
    """Layers side by side, each with a part of the observation of its own, as one column per element.

    One graph for all: exporting takes longer than everything that is asked of it.
    """

    def __init__(self, layers: Mapping[str, Callable[[Tensor], Tensor]]) -> None:
        super().__init__()
        self.layers = layers
        self.modules_ = nn.ModuleList(each for each in layers.values() if isinstance(each, nn.Module))

    def forward(self, obs: Tensor) -> Tensor:
        return torch.cat(self.parts(obs), dim=1)

    def parts(self, obs: Tensor) -> list[Tensor]:
        """[N, columns] of each."""
        found = [layer(obs[:, i]) for i, layer in enumerate(self.layers.values())]
        return [part.reshape(obs.shape[0], -1) for part in found]


@dataclass(frozen=True)
class Answered:
    """One of the layers: torch's numbers, and the graph's for all rows, for parts, and beside extremes."""

    expected: NDArray[np.float32]
    whole: NDArray[np.float32]
    parts: Sequence[tuple[slice, NDArray[np.float32]]]


def _each(layer: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(7, 7), layer, nn.Linear(7, 3))


@cache
def answered(kind: str) -> Mapping[str, Answered]:
    """By the names of the layers."""
    torch.manual_seed(0)
    if kind == "activations":
        return _answered({name: _each(make()) for name, make in ACTIVATIONS.items()}, (7,))
    if kind == "functions":
        return _answered(FUNCTIONS, (7,))
    return _answered({name: make() for name, make in IMAGES.items()}, (3, 11, 9))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation(name: str) -> None:
    check(answered("activations")[name])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_in_a_users_code(name: str) -> None:
    check(answered("functions")[name])


@pytest.mark.parametrize("name", IMAGES)
def test_layers_for_images(name: str) -> None:
    check(answered("images")[name])


def check(layer: Answered) -> None:
    """The same numbers as torch, and the same bits in every batch and beside extremes."""
    np.testing.assert_allclose(layer.whole, layer.expected, atol=1e-4, rtol=1e-4)
    for rows, found in layer.parts:
        assert found.tobytes() == layer.whole[rows].tobytes(), rows


def test_graphs_that_need_nothing_stay_as_they_are() -> None:
    model = graph(nn.Sequential(nn.Linear(5, 16), nn.ELU(), nn.Linear(16, 3)), (5,))
    before = model.SerializeToString(deterministic=True)
    align_rows(model)
    assert model.SerializeToString(deterministic=True) == before


def test_two_logarithms_are_padded_once() -> None:
    model = graph(Side({"": FUNCTIONS["log twice"]}), (1, 7))
    operators = [node.op_type for node in model.graph.node]
    first = operators.index("Sigmoid")
    assert operators[first : first + 6] == ["Sigmoid", "Pad", "Log", "Neg", "Log", "Slice"]


def _answered(
    layers: Mapping[str, Callable[[Tensor], Tensor]], shape: tuple[int, ...]
) -> dict[str, Answered]:
    side = Side(layers).eval()
    rows = np.random.default_rng(0).normal(size=(37, len(layers), *shape)).astype(np.float32) * 2
    with torch.no_grad():
        expected = [part.numpy() for part in side.parts(torch.from_numpy(rows))]
    model = graph(side, rows.shape[1:])
    session = ort.InferenceSession(model.SerializeToString(), _options(), ["CPUExecutionProvider"])
    ends = np.cumsum([part.shape[1] for part in expected])[:-1]

    def run(some: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        return np.split(np.asarray(session.run(None, {"obs": some})[0]), ends, axis=1)

    whole, batches = run(rows), [(part, run(some)) for part, some in _batches(rows)]
    batches.append((slice(None), [found[::2] for found in run(_beside_extremes(rows))]))
    return {
        name: Answered(expected[i], whole[i], [(part, found[i]) for part, found in batches])
        for i, name in enumerate(layers)
    }


def _batches(rows: NDArray[np.float32]) -> list[tuple[slice, NDArray[np.float32]]]:
    parts = [slice(i, i + size) for size in (1, 2, 3, 5, 8) for i in range(0, len(rows), size)]
    return [(part, rows[part]) for part in parts]


def _beside_extremes(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    mixed = np.repeat(rows, 2, axis=0)
    for place, value in enumerate((np.nan, np.inf, -np.inf, np.finfo(np.float32).max)):
        mixed[1 + 2 * place :: 8] = value
    return mixed


def graph(module: nn.Module, shape: tuple[int, ...]) -> Any:
    """As a policy's graph is built, from one observation to one output."""
    columns = module(torch.ones(2, *shape)).shape[1]
    contract = Contract(
        observations=(ObservationSpec(dtype="float32", shape=shape, low=(-9.0,), high=(9.0,)),),
        action=BoxAction(shape=(columns,), low=(-9.0,) * columns, high=(9.0,) * columns),
        distribution="deterministic",
        outputs=("action",),
    )
    return build_graph(module, contract)


def _options() -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return options
