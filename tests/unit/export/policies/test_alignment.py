"""Whatever layers a policy brings, its rows have the same bits in every company."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from steersman.export.policies.graph import build_graph, check_graph

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
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "log twice": lambda x: torch.log(-torch.log(torch.sigmoid(x))),
    "double log": lambda x: torch.log(x.double().abs() + 1).float(),
    "double tanh": lambda x: torch.tanh(x.double()).float(),
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


class Flat(nn.Module):
    """Layers, flattened and given as one column per element."""

    def __init__(self, layers: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, obs: Tensor) -> Tensor:
        return self.layers(obs).reshape(obs.shape[0], -1)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation(name: str) -> None:
    torch.manual_seed(0)
    check(nn.Sequential(nn.Linear(5, 7), ACTIVATIONS[name](), nn.Linear(7, 3)), (5,))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_in_a_users_code(name: str) -> None:
    check(FUNCTIONS[name], (7,))


@pytest.mark.parametrize("name", IMAGES)
def test_layers_for_images(name: str) -> None:
    torch.manual_seed(0)
    check(IMAGES[name](), (3, 11, 9))


def test_graphs_that_need_nothing_stay_as_they_are() -> None:
    model = graph(nn.Sequential(nn.Linear(5, 16), nn.ELU(), nn.Linear(16, 3)), (5,))
    before = model.SerializeToString(deterministic=True)
    align_rows(model)
    assert model.SerializeToString(deterministic=True) == before


def test_two_logarithms_are_padded_once() -> None:
    model = graph(FUNCTIONS["log twice"], (7,))
    align_rows(model)
    operators = [node.op_type for node in model.graph.node]
    assert operators == ["Sigmoid", "Pad", "Log", "Neg", "Log", "Slice", "Reshape"]


def check(layers: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> None:
    """The same numbers as torch, and the same bits in every batch and beside extremes."""
    model = graph(layers, shape)
    align_rows(model)
    check_graph(model)
    session = ort.InferenceSession(model.SerializeToString(), _options(), ["CPUExecutionProvider"])
    rows = np.random.default_rng(0).normal(size=(37, *shape)).astype(np.float32) * 2
    (whole,) = session.run(None, {"obs": rows})
    with torch.no_grad():
        expected = Flat(layers)(torch.from_numpy(rows)).numpy()
    np.testing.assert_allclose(whole, expected, atol=1e-4, rtol=1e-4)
    for part, found in _batches(session, rows):
        assert found.tobytes() == whole[part].tobytes(), part


def _batches(session: Any, rows: NDArray[np.float32]) -> Sequence[tuple[slice, NDArray[Any]]]:
    parts = [slice(i, i + size) for size in (1, 2, 3, 5, 8) for i in range(0, len(rows), size)]
    found = [(part, session.run(None, {"obs": rows[part]})[0]) for part in parts]
    mixed = np.repeat(rows, 2, axis=0)
    for place, value in enumerate((np.nan, np.inf, -np.inf, np.finfo(np.float32).max)):
        mixed[1 + 2 * place :: 8] = value
    return [*found, (slice(None), session.run(None, {"obs": mixed})[0][::2])]


def graph(layers: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> Any:
    """As a policy's graph is built, from one observation to one output."""
    module = Flat(layers).eval()
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
