"""An engine with a shadow lane whose turns a test takes itself, in a time of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import Contract
from steersman.monitoring.blocks import SHADOW_OUTCOMES
from steersman.serving.deciding.routing import PolicyRuntime, RoutingTable
from steersman.serving.decision import SOURCES, Decisions, Source
from steersman.serving.rollout.deployment import ShadowSettings
from steersman.serving.shadowing.shadow import ShadowRunner
from steersman.serving.shadowing.shadow_queue import LINGER_S
from support.toy_bundle import WEIGHTS, box_contract, publish_toy
from unit.serving.conftest import SALT, Kit, make_call

OBSERVATIONS = np.random.default_rng(7).normal(size=(200, 4)).astype(np.float32)
OTHER = WEIGHTS[:, [1, 0, 2]]
"""Weights of a version that wants something else of most rows."""


@dataclass
class Clocks:
    """Time and CPU time, as the test says. Every look at the CPU clock costs `step_s`."""

    now_s: float = 100.0
    cpu_s: float = 0.0
    step_s: float = 0.0

    def clock(self) -> float:
        return self.now_s

    def cpu_clock(self) -> float:
        self.cpu_s += self.step_s
        return self.cpu_s


@dataclass
class Bench:
    """An engine whose shadows take their turns when the test says so."""

    root: Path
    clocks: Clocks = field(default_factory=Clocks)

    def serve(self, policy: str = "toy", **shadow: Any) -> Kit:
        """Version 1 answers, version 2 is its shadow."""
        self.runner = ShadowRunner(SALT, lambda _: None, self.clocks.clock, self.clocks.cpu_clock)
        lanes = {"stable": {"version": 1}, "shadow": {"version": 2, **shadow}}
        document = {"policy": policy, "lanes": lanes, "safety": {"fallback": [{"preference": [0, 1]}]}}
        if policy == "cont":
            del document["safety"]
        folder = self.root / f"kit-{len(list(self.root.iterdir()))}"
        folder.mkdir()
        (folder / "bundles").symlink_to(self.root / "bundles")
        self.kit = Kit(folder, [document], shadows=self.runner)
        return self.kit

    def begin(self, share: float) -> None:
        """Another runner, as if the server had just been started with that share."""
        self.runner = ShadowRunner(SALT, lambda _: None, self.clocks.clock, self.clocks.cpu_clock)
        self.kit.engine._shadows = self.runner
        policy = self.kit.engine.routing.ready("toy")
        wanted = ShadowSettings(version=2, share=share)
        route = policy.route.model_copy(update={"shadow": wanted})
        self.kit.engine.swap(RoutingTable(1, {"toy": PolicyRuntime(route, policy.lanes)}))

    def run(self) -> None:
        """Until nothing waits that has time left."""
        self.clocks.now_s += LINGER_S
        while self.runner.step():
            pass

    def outcomes(self, policy: str = "toy") -> dict[str, int]:
        counts = self.kit.counts(policy, "shadow").shadow.tolist()
        return {name: rows for name, rows in zip(SHADOW_OUTCOMES, counts, strict=True) if rows}

    def sources(self) -> dict[Source, int]:
        counts = self.kit.counts("toy", "shadow").sources.tolist()
        return {source: rows for source, rows in zip(SOURCES, counts, strict=True) if rows}

    def decide(self, observations: Any = OBSERVATIONS, *more: Any, **fields: Any) -> Decisions:
        (decisions,) = self.kit.engine.decide([make_call(observations, *more, **fields)])
        assert isinstance(decisions, Decisions)
        return decisions


def two_versions(
    root: Path, *, contract: Contract | None = None, weights: NDArray[np.float32] = WEIGHTS
) -> Path:
    """A repository of `toy`, whose second version is as the arguments say, and of `cont`, twice the same."""
    publish_toy(root / "bundles")
    publish_toy(root / "bundles", contract=contract, weights=weights)
    for _ in range(2):
        publish_toy(root / "bundles", "cont", box_contract())
    return root
