"""Real SB3 models, trained for a moment, in environments of every space that export covers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from steersman.bundle.digest import contract_digest
from steersman.bundle.session import PolicySession
from steersman.export.policies.contract import action_spec, build_contract, observation_specs
from steersman.export.policies.families import family_of
from steersman.export.policies.graph import build_graph, label_graph
from steersman.export.policies.inputs import Inputs, draw_inputs
from steersman.export.policies.oracle import Oracle
from steersman.export.policies.preparation import Preparation
from steersman.export.quantization.variants import Workbench
from steersman.export.reading.load import SavedPolicy, load_policy
from steersman.export.reading.normalizer import load_normalizer
from steersman.export.vocabulary import Scheme

Array = NDArray[Any]
DRIFT = "steersman-export-tests/Drift-v0"

OBSERVATIONS: dict[str, Callable[[], spaces.Box]] = {
    "flat": lambda: spaces.Box(-5, 5, (3,), np.float32),
    "unbounded": lambda: spaces.Box(-np.inf, np.inf, (5,), np.float32),
    "double": lambda: spaces.Box(-5, 5, (3,), np.float64),
    "half": lambda: spaces.Box(-5, 5, (3,), np.float16),
    "grid": lambda: spaces.Box(-9, 9, (2, 3), np.float32),
    "counts": lambda: spaces.Box(-40, 40, (4,), np.int32),
    "bytes": lambda: spaces.Box(0, 200, (7,), np.uint8),
    "wide": lambda: spaces.Box(-5, 5, (65,), np.float32),
}
ACTIONS: dict[str, Callable[[], spaces.Space[Any]]] = {
    "two": lambda: spaces.Discrete(2),
    "five": lambda: spaces.Discrete(5),
    "only": lambda: spaces.Discrete(1),
    "shifted": lambda: spaces.Discrete(3, start=-1),
    "torque": lambda: spaces.Box(-2, 2, (1,), np.float32),
    "arm": lambda: spaces.Box(np.array([-1, -3, 0], np.float32), np.array([1, 0.5, 4], np.float32)),
    "matrix": lambda: spaces.Box(-0.01, 0.01, (2, 2), np.float32),
    "precise": lambda: spaces.Box(-1, 1, (2,), np.float64),
}


class Drift(gymnasium.Env[Any, Any]):
    """Twenty steps of a random walk that the action pushes; small numbers offset by a large mean."""

    def __init__(self, observation: str = "flat", action: str = "two", length: int = 20) -> None:
        self.observation_space = OBSERVATIONS[observation]()
        self.action_space = ACTIONS[action]()
        self.length = length
        self.steps = 0
        self.place: Array = np.zeros(self.observation_space.shape)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self.steps = 0
        self.place = self.np_random.normal(size=self.observation_space.shape)
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        push = float(np.sum(action)) if np.all(np.isfinite(action)) else 0.0
        noise = self.np_random.normal(size=self.place.shape)
        self.place = 0.9 * self.place + 0.3 * noise + 0.01 * push
        return self._observe(), -float(np.abs(self.place).sum()), self.steps >= self.length, False, {}

    def _observe(self) -> Array:
        space = self.observation_space
        assert isinstance(space, spaces.Box)
        scaled = self.place * (10 if space.dtype is not None and space.dtype.kind in "iu" else 1)
        return np.clip(scaled, space.low, space.high).astype(space.dtype)


if DRIFT not in gymnasium.registry:
    gymnasium.register(DRIFT, entry_point=Drift)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Case:
    """A model to train."""

    name: str
    observation: str = "flat"
    action: str = "two"
    algorithm: type[PPO | A2C] = PPO
    policy_kwargs: Mapping[str, Any] = field(default_factory=dict)
    normalize: bool = False
    steps: int = 64

    @property
    def env_kwargs(self) -> dict[str, Any]:
        return {"observation": self.observation, "action": self.action}


def _net(activation: type[torch.nn.Module], *layers: int) -> dict[str, Any]:
    return {"activation_fn": activation, "net_arch": list(layers)}


BRANCHES = {"net_arch": {"pi": [16], "vf": [8, 8]}}
SEPARATE = {"share_features_extractor": False, "log_std_init": -1.0}
CASES = (
    Case("plain"),
    Case("odd ELU layers", action="five", policy_kwargs=_net(torch.nn.ELU, 13, 7)),
    Case("one choice, no hidden layer", action="only", policy_kwargs={"net_arch": []}),
    Case("shifted choices of A2C", action="shifted", algorithm=A2C),
    Case("normalized double", "double", normalize=True, policy_kwargs=BRANCHES),
    Case("grid to torque", "grid", "torque", policy_kwargs=_net(torch.nn.ReLU, 64, 64)),
    Case("normalized counts", "counts", "arm", A2C, policy_kwargs=_net(torch.nn.Mish, 11), normalize=True),
    Case("bytes to matrix, separate extractors", "bytes", "matrix", policy_kwargs=SEPARATE),
    Case("half to precise", "half", "precise", policy_kwargs=_net(torch.nn.Softplus, 9)),
    Case("unbounded, normalized", "unbounded", "arm", normalize=True),
)


@dataclass(frozen=True)
class Trained:
    """Files of a trained model, and the model as SB3 itself has it."""

    case: Case
    zip: Path
    vecnormalize: Path | None
    model: PPO | A2C
    normalizer: VecNormalize | None

    def predict(self, observations: Array) -> Array:
        """What SB3 answers; it counts choices from 0."""
        if self.normalizer is not None:
            observations = self.normalizer.normalize_obs(observations)  # type: ignore[assignment]
        return self.model.predict(observations, deterministic=True)[0]


def train(case: Case, folder: Path) -> Trained:
    """Trains for a moment and saves as users do."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    envs: Any = DummyVecEnv([lambda: gymnasium.make(DRIFT, **case.env_kwargs)] * 2)
    envs.seed(3)
    if case.normalize:
        envs = VecNormalize(envs, clip_obs=2.0)
    rollout = {"n_steps": 32, "batch_size": 32, "n_epochs": 1} if case.algorithm is PPO else {"n_steps": 16}
    model = case.algorithm(
        "MlpPolicy", envs, seed=3, device="cpu", policy_kwargs=dict(case.policy_kwargs), **rollout
    )
    model.learn(case.steps)
    with torch.no_grad():
        model.policy.action_net.weight.mul_(60.0)  # a fresh policy hardly cares where it is
    model.save(folder / "model.zip")
    if case.normalize:
        envs.training = False
        envs.save(str(folder / "vecnormalize.pkl"))
    return Trained(
        case,
        folder / "model.zip",
        folder / "vecnormalize.pkl" if case.normalize else None,
        model,
        envs if case.normalize else None,
    )


@dataclass(frozen=True)
class Graphed:
    """A trained model with its graph, loaded."""

    trained: Trained
    saved: SavedPolicy
    oracle: Oracle
    bench: Workbench
    session: PolicySession

    def observations(self, count: int, seed: int = 0) -> dict[str, Array]:
        """Observations as the environment gives them, and beyond where it declares no bounds."""
        spec = self.bench.contract.observations[0]
        rng, shape = np.random.default_rng(seed), (count, *spec.shape)
        if np.dtype(spec.dtype).kind in "iu":
            low, high = int(spec.low[0]), int(spec.high[0])
            return {"obs": rng.integers(low, high, shape, spec.dtype, endpoint=True)}
        return {"obs": (rng.normal(size=shape) * 2).clip(spec.low[0], spec.high[0]).astype(spec.dtype)}

    def inputs(self, count: int, seed: int = 0) -> Inputs:
        """As many rows of everything that the graph takes."""
        rows = Inputs(self.observations(count, seed))
        return draw_inputs(rows, self.bench.contract, np.random.default_rng(seed))


def graphed(trained: Trained) -> Graphed:
    """The graph of a trained model."""
    saved = load_policy(trained.zip)
    space = saved.observation_space
    normalizer = load_normalizer(trained.vecnormalize, space) if trained.vecnormalize else None
    oracle = Oracle(family_of(saved), Preparation(normalizer=normalizer))
    action = action_spec(saved.action_space)
    contract = build_contract(observation_specs(space), action, oracle.family.traits, oracle.preparation)
    model = build_graph(oracle.family.graph(oracle.preparation, action), contract)
    digest = contract_digest(contract)
    label_graph(model, "drift", digest)
    bench = Workbench(model, contract, digest)
    return Graphed(trained, saved, oracle, bench, bench.candidate(model, Scheme.FLOAT32).session)
