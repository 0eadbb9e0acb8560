"""An engine with toy policies, without processes or transports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from steersman.bundle.specs import Contract, Mode
from steersman.monitoring.blocks import BlockView
from steersman.monitoring.counters import Segment, Slot
from steersman.serving.counting import counters_layout
from steersman.serving.deciding.call import Call, RawTensor
from steersman.serving.deciding.engine import Engine
from steersman.serving.deciding.episodes import EpisodeKeeper
from steersman.serving.deciding.routing import RoutingTable
from steersman.serving.loading.loader import Loader
from steersman.serving.planning.planner import Plan, Planner
from steersman.serving.rollout.deployment import Deployment
from steersman.serving.rollout.keyring import Keyring
from steersman.serving.rollout.tokens import TokenCodec
from steersman.serving.shadowing.shadow import ShadowRunner
from support.toy_bundle import box_contract, discrete_contract, publish_toy
from support.toy_memory import memory_contract, memory_graph

SALT = bytes(range(32))
KEYRING = Keyring(current=1, keys={1: SALT.hex()})


class Kit:
    """An engine over a repository, and its counters."""

    def __init__(
        self,
        root: Path,
        deployments: Sequence[dict[str, Any]],
        max_rows: int = 4096,
        shadows: ShadowRunner | None = None,
    ) -> None:
        self.now = 1_700_000_000.0
        segment = Segment.create(root / "counters", counters_layout(1, 100_000))
        parsed = {str(d["policy"]): Deployment.model_validate(d) for d in deployments}
        planner = Planner(root / "bundles", parsed, (), segment.allocator())
        self.plan: Plan = planner.plan(generation=1)
        slot = Slot.open(segment.path, 0)
        episodes = EpisodeKeeper(TokenCodec(KEYRING), 3600.0, lambda: self.now)
        self.engine = Engine(SALT, episodes, max_rows, shadows)
        self.engine.swap(Loader(slot.block, root).load(self.plan.snapshot, RoutingTable()))
        self._segment = segment

    def counts(self, policy: str = "toy", lane: str = "stable") -> BlockView:
        """What has been counted for a policy in a lane."""
        lanes = [found for found in self.plan.lanes if found.policy == policy]
        placed = next(found.placed for found in lanes if found.route.lane == lane)
        return self._segment.total(placed)


KitMaker = Callable[..., Kit]


@pytest.fixture
def bundles(tmp_path: Path) -> Callable[[str, Contract], None]:
    """Publishes a toy policy."""

    def publish(policy: str, contract: Contract) -> None:
        publish_toy(tmp_path / "bundles", policy, contract)

    return publish


@pytest.fixture(scope="session")
def toy_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a discrete policy `toy` and a continuous one `cont`."""
    root = tmp_path_factory.mktemp("toy")
    publish_toy(root / "bundles", "toy", discrete_contract())
    publish_toy(root / "bundles", "cont", box_contract())
    return root


@pytest.fixture(scope="session")
def kit(toy_root: Path) -> KitMaker:
    """Makes an engine over the toy policies with the safety settings given."""

    def make(toy: dict[str, Any] | None = None, cont: dict[str, Any] | None = None, **options: Any) -> Kit:
        deployments = [
            {"policy": name, "safety": safety}
            for name, safety in (("toy", toy), ("cont", cont))
            if safety is not None
        ]
        return Kit(toy_root, deployments, **options)

    return make


def make_call(
    observation: ArrayLike,
    mask: ArrayLike | None = None,
    *,
    policy: str = "toy",
    mode: Mode = "greedy",
    **fields: Any,
) -> Call:
    """A call with float32 observations [N, 4] and a boolean mask."""
    rows = np.asarray(observation, np.float32)
    allowed = None if mask is None else np.asarray(mask, np.bool_)
    return Call(
        policy=policy,
        observations={"": RawTensor(rows.ravel(), rows.shape, typed=True)},
        action_mask=None if allowed is None else RawTensor(allowed.ravel(), allowed.shape, typed=True),
        mode=mode,
        **fields,
    )


@pytest.fixture(scope="session")
def safety_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two versions of `toy`, of `cont`, and of `memory`, which is recurrent."""
    root = tmp_path_factory.mktemp("safety")
    for _ in range(2):
        publish_toy(root / "bundles", "toy", discrete_contract())
        publish_toy(root / "bundles", "cont", box_contract())
        publish_toy(root / "bundles", "memory", memory_contract(), graph=memory_graph())
    return root
