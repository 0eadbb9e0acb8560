"""Policies of SB3 with random weights, their torch modules and their graphs, without a file between.

A graph takes a second or two to export, a module nothing: numbers are compared by modules for every
combination, and by graphs for as many as together hold everything that a graph can hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import nn

from steersman.bundle.digest import contract_digest
from steersman.bundle.session import PolicySession
from steersman.bundle.specs import Contract
from steersman.export.observations import Observations, from_sb3
from steersman.export.policies.contract import action_spec, build_contract, observation_specs
from steersman.export.policies.families import family_of
from steersman.export.policies.family import Answers, Family
from steersman.export.policies.graph import build_graph, label_graph
from steersman.export.policies.inputs import Inputs, draw_inputs
from steersman.export.policies.preparation import Preparation
from steersman.export.reading.load import SavedPolicy

Array = NDArray[Any]
AnySpace = spaces.Space[Any]
ROWS = 67
"""Odd, so that no SIMD packet fits it."""

SMALL_OBSERVATIONS = (
    *("flat", "half", "double", "counts", "large counts", "small counts", "matrix", "block"),
    *("choice", "choices", "switches", "switch board"),
)
OBSERVATIONS: dict[str, Callable[[], AnySpace]] = {
    "flat": lambda: spaces.Box(-5, 5, (3,), np.float32),
    "half": lambda: spaces.Box(-5, 5, (3,), np.float16),
    "double": lambda: spaces.Box(-5, 5, (3,), np.float64),
    "counts": lambda: spaces.Box(-40, 40, (4,), np.int32),
    "large counts": lambda: spaces.Box(-40, 40, (4,), np.int64),
    "small counts": lambda: spaces.Box(-40, 40, (4,), np.int8),
    "matrix": lambda: spaces.Box(-9, 9, (2, 3), np.float32),
    "block": lambda: spaces.Box(-9, 9, (2, 3, 2), np.float32),
    "image": lambda: spaces.Box(0, 255, (3, 36, 36), np.uint8),
    "choice": lambda: spaces.Discrete(5),
    "choices": lambda: spaces.MultiDiscrete([3, 5, 2]),
    "switches": lambda: spaces.MultiBinary(4),
    "switch board": lambda: spaces.MultiBinary([3, 2]),
    "camera and speed": lambda: spaces.Dict(
        {
            "speed": spaces.Box(-5, 5, (3,), np.float64),
            "camera": spaces.Box(0, 255, (1, 36, 36), np.uint8),
        }
    ),
    "mixed": lambda: spaces.Dict(
        {
            "speed": spaces.Box(-5, 5, (3,), np.float64),
            "camera": spaces.Box(0, 255, (1, 36, 36), np.uint8),
            "gear": spaces.Discrete(4),
            "levers": spaces.MultiDiscrete([2, 3]),
            "doors": spaces.MultiBinary(3),
        }
    ),
    "everything": lambda: spaces.Dict(
        {f"some {name}": OBSERVATIONS[name]() for name in (*SMALL_OBSERVATIONS, "image")}
    ),
}
ACTIONS: dict[str, Callable[[], AnySpace]] = {
    "five": lambda: spaces.Discrete(5),
    "shifted": lambda: spaces.Discrete(3, start=-1),
    "only": lambda: spaces.Discrete(1),
    "ragged": lambda: spaces.MultiDiscrete([3, 1, 5]),
    "even": lambda: spaces.MultiDiscrete([4, 4]),
    "switches": lambda: spaces.MultiBinary(5),
    "torque": lambda: spaces.Box(-2, 2, (1,), np.float32),
    "arm": lambda: spaces.Box(np.array([-1, -3, 0], np.float32), np.array([1, 0.5, 4], np.float32)),
    "precise": lambda: spaces.Box(-1, 3, (2, 2), np.float64),
    "coarse": lambda: spaces.Box(-1, 3, (2,), np.float16),
    "steps": lambda: spaces.Box(-2, 3, (2,), np.int8),
    "strides": lambda: spaces.Box(-2, 3, (2,), np.int32),
}


class Spaces(gymnasium.Env[Any, Any]):
    """An environment that is nothing but its spaces."""

    def __init__(self, observation_space: AnySpace, action_space: AnySpace) -> None:
        self.observation_space, self.action_space = observation_space, action_space


def untrained(
    algorithm: Any, observation: AnySpace, action: AnySpace, policy: Any = "", **policy_kwargs: Any
) -> SavedPolicy:
    """A policy with random weights that cares where it is, as a zip would give it."""
    torch.manual_seed(7)
    torch.set_num_threads(1)
    name: Any = policy or ("MultiInputPolicy" if isinstance(observation, spaces.Dict) else "MlpPolicy")
    sde = {"use_sde": True} if policy_kwargs.pop("use_sde", False) else {}
    env = Spaces(observation, action)
    model = algorithm(
        name, env, policy_kwargs=policy_kwargs, device="cpu", n_steps=8, **sde, **_batch(algorithm)
    )
    stir(model.policy)
    model.policy.set_training_mode(False)
    return saved(algorithm.__name__, model.policy)


def _batch(algorithm: Any) -> dict[str, int]:
    return {} if algorithm.__name__ == "A2C" else {"batch_size": 8}


def saved(algorithm: str, policy: Any) -> SavedPolicy:
    """As if read from a file."""
    spaces_ = policy.observation_space, policy.action_space
    return SavedPolicy(algorithm, policy, *spaces_, zip_sha256="0" * 64, libraries={}, train_steps=None)


def stir(policy: Any) -> None:
    """Weights away from their initial values: SB3's fresh heads are so small that all choices tie."""
    with torch.no_grad():
        for name, weights in policy.named_parameters():
            if "action_net" in name:
                weights.normal_(0, 0.7)
            elif name.endswith("bias"):
                weights.normal_(0, 0.1)
            elif name == "log_std":
                weights.uniform_(-1.5, -0.5)


@dataclass(frozen=True)
class Made:
    """A policy, its contract, and the module that its graph is made of."""

    policy: Any
    family: Family
    preparation: Preparation
    contract: Contract
    module: nn.Module

    @cached_property
    def session(self) -> PolicySession:
        """The graph, loaded; exported when it is first asked for."""
        model, digest = build_graph(self.module, self.contract), contract_digest(self.contract)
        label_graph(model, "made", digest)
        return PolicySession(model.SerializeToString(), self.contract, digest, "made")

    def inputs(self, rows: int = ROWS, seed: int = 0) -> Inputs:
        """Everything that the graph takes."""
        observations = sample(self.policy.observation_space, rows, seed)
        return draw_inputs(Inputs(observations), self.contract, np.random.default_rng(seed))

    def run(self, inputs: Inputs) -> dict[str, Array]:
        """All outputs of the graph."""
        names = self.contract.outputs
        return dict(zip(names, self.session.run(names, inputs.feeds()), strict=True))

    def compute(self, inputs: Inputs) -> dict[str, Array]:
        """All outputs of the module."""
        feeds = inputs.feeds()
        with torch.no_grad():
            found = self.module(*(torch.from_numpy(feeds[name]) for name in self.contract.inputs))
        outputs = (found,) if isinstance(found, torch.Tensor) else found
        return {n: output.numpy() for n, output in zip(self.contract.outputs, outputs, strict=True)}

    def ask(self, inputs: Inputs) -> Answers:
        """SB3's answers."""
        return self.family.answer(self.preparation(inputs.observations), inputs)


def make(policy: SavedPolicy, preparation: Preparation | None = None, raw: AnySpace | None = None) -> Made:
    """What becomes of a policy; `raw` are the observations of its environment where they differ."""
    family, preparation = family_of(policy), preparation or Preparation()
    action = action_spec(policy.action_space)
    observations = observation_specs(raw or policy.observation_space)
    contract = build_contract(observations, action, family.traits, preparation)
    return Made(policy.policy, family, preparation, contract, family.graph(preparation, action))


def sample(space: AnySpace, rows: int, seed: int = 0) -> Observations:
    """Observations of a space, by graph input name."""
    space.seed(seed)
    drawn = [space.sample() for _ in range(rows)]
    if isinstance(space, spaces.Dict):
        return from_sb3({key: np.stack([one[key] for one in drawn]) for key in space.spaces})
    return from_sb3(np.stack(drawn))


def assert_computed(made: Made, inputs: Inputs) -> None:
    """Every output of the module is SB3's."""
    _assert_answered(made.compute(inputs), made.ask(inputs))


def assert_same(made: Made, inputs: Inputs) -> None:
    """Every output of the graph is SB3's."""
    _assert_answered(made.run(inputs), made.ask(inputs))


def _assert_answered(found: Mapping[str, Array], expected: Answers, tie: float = 1e-4) -> None:
    """Numbers to 1e-5 (those that sum over many terms 1e-4), and choices that are not beside ties."""
    assert set(found) == set(expected.outputs)
    for name, array in found.items():
        other = expected.outputs[name]
        assert (array.shape, array.dtype) == (other.shape, other.dtype), name
        ties = np.zeros(len(array), np.bool_)
        if name in {"sampled_action", "log_prob"}:
            ties = expected.sampled_margin < tie
        if name == "action":
            ties = expected.margin < tie
        exact = array.dtype.kind in "iu"
        tolerance = 0.0 if exact else 1e-5 if name.endswith("action") else 1e-4
        if not exact:
            tolerance = max(tolerance, float(np.finfo(array.dtype).eps))  # of float16: its last bit may tip
        a, b = array[~ties].astype(np.float64), other[~ties].astype(np.float64)
        assert ties.mean() < 0.05
        np.testing.assert_allclose(a, b, atol=tolerance, rtol=tolerance, err_msg=name)


def assert_alone(made: Made, inputs: Inputs) -> None:
    """Rows have the same bits alone, in small batches, and beside extreme mates."""
    whole = made.run(inputs)
    for size in (1, 2, 3, 5, 8):
        for first in range(0, len(inputs), size):
            rows = slice(first, first + size)
            for name, part in made.run(inputs.take(rows)).items():
                assert part.tobytes() == whole[name][rows].tobytes(), (name, size, first)
    mixed = {name: np.repeat(array, 2, axis=0) for name, array in inputs.feeds().items()}
    for name, array in mixed.items():
        if name not in {"action_mask", "noise", "episode_start"}:
            _make_extreme(array[1::2])
    beside = made.session.run(made.contract.outputs, mixed)
    for name, array in zip(made.contract.outputs, beside, strict=True):
        assert array[::2].tobytes() == whole[name].tobytes(), f"{name} beside extremes"


def _make_extreme(rows: Array) -> None:
    kind = rows.dtype.kind
    if kind == "f":
        worst: Mapping[int, float] = dict(enumerate((np.nan, np.inf, -np.inf, np.finfo(rows.dtype).max)))
    elif kind in "iu":
        worst = dict(enumerate((np.iinfo(rows.dtype).max, np.iinfo(rows.dtype).min)))
    else:
        worst = {0: True}
    for place, value in worst.items():
        rows[place :: len(worst)] = value


def distance(one: Array, other: Array) -> float:
    """The Kolmogorov-Smirnov statistic of two samples."""
    places = np.concatenate([one, other])
    shares = [np.searchsorted(np.sort(drawn), places, side="right") / len(drawn) for drawn in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())
