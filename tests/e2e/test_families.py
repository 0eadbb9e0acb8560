"""Policies of every family, from SB3 through the exporter to a call: they answer as `predict` does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import ARS, MaskablePPO, RecurrentPPO
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm

from steersman.client import PolicyClient
from steersman.export import ExportSettings, export_policy
from steersman.serving.testing import running_server

VECTOR = spaces.Box(-5, 5, (4,), np.float32)
MIXED = spaces.Dict(
    {
        "speed": spaces.Box(-5, 5, (3,), np.float64),
        "gear": spaces.Discrete(4),
        "doors": spaces.MultiBinary(3),
    }
)
ARM = spaces.Box(np.array([-2, 0], np.float32), np.array([1, 3], np.float32))


class Spaces(gymnasium.Env[Any, Any]):
    """An environment that is nothing but its spaces."""

    def __init__(self, observation: spaces.Space[Any], action: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observation, action


def model(algorithm: Any, policy: str, observation: Any, action: Any, **more: Any) -> BaseAlgorithm:
    """An untrained model that cares where it is."""
    torch.manual_seed(3)
    net = {} if policy == "LinearPolicy" else {"net_arch": [16]}
    made = algorithm(policy, Spaces(observation, action), device="cpu", policy_kwargs=net, **more)
    with torch.no_grad():
        for weights in made.policy.parameters():
            weights.add_(0.3 * torch.randn_like(weights))
    return made  # type: ignore[no-any-return]


MODELS: dict[str, Callable[[], BaseAlgorithm]] = {
    "dqn": lambda: model(DQN, "MlpPolicy", VECTOR, spaces.Discrete(3)),
    "td3": lambda: model(TD3, "MlpPolicy", VECTOR, ARM),
    "sac": lambda: model(SAC, "MultiInputPolicy", MIXED, ARM, use_sde=True),
    "ars": lambda: model(ARS, "LinearPolicy", VECTOR, spaces.Discrete(3)),
    "maskable": lambda: model(MaskablePPO, "MlpPolicy", VECTOR, spaces.MultiDiscrete([3, 2])),
    "switches": lambda: model(PPO, "MultiInputPolicy", MIXED, spaces.MultiBinary(4)),
    "recurrent": lambda: model(RecurrentPPO, "MlpLstmPolicy", VECTOR, spaces.Discrete(2)),
}
MEMORYLESS = tuple(name for name in MODELS if name != "recurrent")


@pytest.fixture(scope="module")
def models() -> dict[str, BaseAlgorithm]:
    """Each model, made once."""
    return {name: make() for name, make in MODELS.items()}


@pytest.fixture(scope="module")
def client(
    models: dict[str, BaseAlgorithm], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PolicyClient]:
    """A client of a server that has all of them."""
    folder = tmp_path_factory.mktemp("families")
    for name, made in models.items():
        made.save(folder / name)
        zipped = folder / f"{name}.zip"
        export_policy(ExportSettings(source=zipped, repository=folder / "bundles", policy=name, int8=False))
    with running_server(folder / "bundles") as server, PolicyClient(server.grpc) as calling:
        yield calling


def observations(space: spaces.Space[Any], count: int) -> list[Any]:
    space.seed(5)
    return [space.sample() for _ in range(count)]


def predicted(made: BaseAlgorithm, observation: Any) -> Any:
    return made.predict(observation, deterministic=True)[0]


@pytest.mark.parametrize("name", MEMORYLESS)
def test_calls_answer_as_predict_does(
    client: PolicyClient, models: dict[str, BaseAlgorithm], name: str
) -> None:
    made = models[name]
    for observation in observations(made.observation_space, 20):
        decision = client.act(name, observation)
        assert decision.source == "policy"
        assert np.allclose(decision.action, predicted(made, observation), atol=1e-5)


@pytest.mark.parametrize("name", ["sac", "maskable", "switches"])
def test_sampled_calls_carry_their_probability(client: PolicyClient, models: Any, name: str) -> None:
    (observation,) = observations(models[name].observation_space, 1)
    decision = client.act(name, observation, mode="sampled")
    assert decision.source == "exploration"
    assert decision.log_prob is not None
    assert np.isfinite(decision.log_prob)


def test_masks_of_several_segments_are_obeyed(client: PolicyClient) -> None:
    for observation in observations(VECTOR, 20):
        decision = client.act("maskable", observation, action_mask=[False, False, True, True, False])
        assert np.asarray(decision.action).tolist() == [2, 0]


def test_a_recurrent_policy_remembers_as_predict_does(
    client: PolicyClient, models: dict[str, BaseAlgorithm]
) -> None:
    made, state = models["recurrent"], None
    begins = np.ones(1, bool)
    with client.policy("recurrent").episode() as episode:
        for observation in observations(VECTOR, 30):
            action, state = made.predict(observation, state, begins, deterministic=True)
            assert np.array_equal(episode.act(observation).action, action)
            begins = np.zeros(1, bool)
