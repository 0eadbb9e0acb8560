"""Contracts, simulated episodes and counter files that the monitoring tests share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from numpy.typing import NDArray

from steersman.bundle.reference import Reference
from steersman.bundle.specs import BoxAction, Contract, DiscreteAction, MultiDiscreteAction, ObservationSpec
from steersman.monitoring.blocks import BlockSpec
from steersman.monitoring.counters import Layout, Segment
from steersman.monitoring.reference import build_reference

Episodes = list[NDArray[np.float64]]

FEATURES = 3

settings.register_profile("untimed", deadline=None)  # machines that share their cores are slow at times
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def contract() -> Contract:
    """Three features, three choices."""
    observation = ObservationSpec(
        dtype="float32", shape=(FEATURES,), low=(-10.0,), high=(10.0,), feature_names=("x", "speed", "angle")
    )
    return Contract(
        observations=(observation,),
        action=DiscreteAction(n=3),
        distribution="categorical",
        outputs=("action", "sampled_action", "distribution"),
    )


@pytest.fixture(scope="session")
def with_action(contract: Contract) -> Callable[[DiscreteAction | MultiDiscreteAction | BoxAction], Contract]:
    return lambda action: contract.model_copy(update={"action": action})


@pytest.fixture(scope="session")
def simulate() -> Callable[..., Episodes]:
    return simulate_episodes


def simulate_episodes(
    rng: np.random.Generator, episodes: int, *, features: int = FEATURES, shift: float = 0.0
) -> Episodes:
    """AR(1) features from nearly independent to strongly correlated; each episode has an offset of its own.

    Episodes have 30 to 59 steps; `shift` is added to the first feature.
    """
    steps = 60
    memory = np.linspace(0.1, 0.95, features)
    noise = rng.normal(size=(steps, episodes, features))
    x = np.empty_like(noise)
    x[0] = noise[0]
    for t in range(1, steps):
        x[t] = memory * x[t - 1] + np.sqrt(1 - memory**2) * noise[t]
    x += 0.3 * rng.normal(size=(episodes, features))
    x[..., 0] += shift
    lengths = rng.integers(30, steps, episodes)
    return [x[:length, i] for i, length in enumerate(lengths)]


@pytest.fixture(scope="session")
def reference(contract: Contract) -> Reference:
    """Of 60 simulated episodes; the first choice is taken half of the time."""
    rng = np.random.default_rng(1)
    observations = simulate_episodes(rng, 60)
    actions = [rng.choice(3, len(x), p=(0.5, 0.3, 0.2)) for x in observations]
    return build_reference(observations, actions, contract, replicates=1_000)


@pytest.fixture
def layout() -> Layout:
    return Layout(slots=2, slot_cells=4096, methods=("Act", "ActStream"), codes=("ok", "internal"))


@pytest.fixture
def segment(tmp_path: Path, layout: Layout) -> Segment:
    return Segment.create(tmp_path / "counters", layout)


@pytest.fixture
def spec(contract: Contract) -> BlockSpec:
    plain = BlockSpec(
        policy="pole",
        version=3,
        lane="stable",
        sources=("none", "policy", "fallback"),
        reasons=("", "deadline", "action_masked"),
    )
    return plain.watching(contract, ("greedy",))
