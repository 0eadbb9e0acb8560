"""Episodes: whole, unbiased, repeatable."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from steersman.bundle.errors import SteersmanError
from steersman.bundle.specs import ObservationSpec
from steersman.export.sources import rollouts
from steersman.export.evidence.states import boundary_states, gather_states
from steersman.export.policies.oracle import Oracle
from steersman.export.sources.environments import open_environments
from steersman.export.sources.rollouts import play, sample_space
from steersman.export.sources.source import Source
from unit.export.conftest import PLAIN, Graph
from unit.export.models import DRIFT, Drift


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollouts, "LEAST_STEPS", 300)
    monkeypatch.setattr(rollouts, "MOST_STEPS", 900)


@contextmanager
def environments(copies: int = 4, **kwargs: Any) -> Iterator[VecEnv]:
    envs = DummyVecEnv([lambda: Drift(**kwargs)] * copies)  # type: ignore[list-item]
    envs.seed(5)
    yield envs
    envs.close()


def test_episodes_are_whole_and_as_many_as_asked(graph: Graph) -> None:
    with environments() as envs:
        rollout = play(graph(PLAIN).oracle, envs, "greedy", 18)
    assert len(rollout.episodes) == 20  # the next multiple of the copies
    assert {len(episode.observations) for episode in rollout.episodes} == {20}
    assert rollout.steps == 400
    assert rollout.mean_return == pytest.approx(np.mean([e.total_return for e in rollout.episodes]))
    for episode in rollout.episodes:
        expected = graph(PLAIN).oracle.act(episode.observations)
        assert (episode.actions == expected).all()


def test_few_episodes_are_made_up_to_enough_steps(graph: Graph) -> None:
    with environments() as envs:
        rollout = play(graph(PLAIN).oracle, envs, "sampled", 1)
    assert rollout.steps >= 300
    assert {len(episode.actions) for episode in rollout.episodes} == {20}


def test_endless_episodes_are_cut_and_kept(graph: Graph) -> None:
    with environments(length=10**9) as envs:
        rollout = play(graph(PLAIN).oracle, envs, "greedy", 4)
    assert [len(episode.actions) for episode in rollout.episodes] == [225] * 4
    assert rollout.mean_return is None


def test_a_seed_repeats_a_rollout(graph: Graph) -> None:
    def once() -> list[np.ndarray]:
        with torch.random.fork_rng(), environments() as envs:
            torch.manual_seed(2)
            return [
                episode.observations for episode in play(graph(PLAIN).oracle, envs, "sampled", 4).episodes
            ]

    assert all((a == b).all() for a, b in zip(once(), once(), strict=True))


def test_states_are_split_by_episode(graph: Graph) -> None:
    with environments() as envs:
        rollout = play(graph(PLAIN).oracle, envs, "greedy", 16)
    spec = graph(PLAIN).bench.contract.observations[0]
    states = gather_states([rollout], spec, np.random.default_rng(0))
    assert len(states.calibration) == 80
    assert len(states.evaluation) == 240
    together = np.concatenate([states.calibration, states.evaluation])
    assert len(np.unique(together, axis=0)) == 320
    assert not states.synthetic


def test_without_an_environment_the_space_is_sampled(graph: Graph) -> None:
    oracle: Oracle = graph(PLAIN).oracle
    rollout = sample_space(oracle, "greedy", 0, seed=1)
    assert rollout.synthetic
    assert rollout.mean_return is None
    assert rollout.steps >= 300
    assert all(oracle.saved.observation_space.contains(row) for row in rollout.episodes[0].observations)


def test_boundary_states_reach_the_bounds_and_stay_finite() -> None:
    spec = ObservationSpec(dtype="float32", shape=(3,), low=(-1.0, -np.inf, 0.0), high=(2.0, 3.4e38, np.inf))
    seen = np.random.default_rng(0).normal(size=(100, 3))
    rows = boundary_states(spec, seen, np.random.default_rng(0))
    assert rows.dtype == np.float32
    assert (rows[:, 0].min(), rows[:, 0].max()) == (-1.0, 2.0)
    assert np.abs(rows).max() == pytest.approx(10 * np.abs(seen).max(axis=0)[1:].max(), rel=0.5)
    assert rows[:, 2].min() == 0.0


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (Source(zip=None, env_id="CartPole-v11"), "no environment is registered.*CartPole-v1"),  # type: ignore[arg-type]
        (Source(zip=None, env_id="CartPole-v1"), r"its observation space is Box.*the policy's, Box"),  # type: ignore[arg-type]
        (Source(zip=None, env_id=DRIFT, env_kwargs={"action": "five"}), "its action space is Discrete"),  # type: ignore[arg-type]
        (Source(zip=None, env_id=DRIFT, env_kwargs={"color": 1}), "cannot be made or reset: TypeError"),  # type: ignore[arg-type]
        (Source(zip=None, env_id="X-v0", env_import="no_such_module"), "--env-import no_such_module"),  # type: ignore[arg-type]
    ],
)
def test_wrong_environments_are_refused(graph: Graph, source: Source, expected: str) -> None:
    with (
        pytest.raises(SteersmanError, match=expected) as caught,
        open_environments(source, graph(PLAIN).saved, 0),
    ):
        pass
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


def test_the_policy_s_own_environment_opens(graph: Graph) -> None:
    source = Source(zip=None, env_id=DRIFT, env_import="json")  # type: ignore[arg-type]
    with open_environments(source, graph(PLAIN).saved, 0) as envs:
        assert envs.num_envs == 25
    assert DRIFT in gymnasium.registry
