"""An engine whose deployment can be changed and whose clock can be turned, without processes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from steersman.monitoring.blocks import BlockView
from steersman.monitoring.counters import Segment, Slot
from steersman.serving.clock import utc_now
from steersman.serving.counting import counters_layout
from steersman.serving.deciding.call import Call
from steersman.serving.deciding.engine import Engine
from steersman.serving.deciding.episodes import EpisodeKeeper
from steersman.serving.decision import REASONS, Decisions, Reason
from steersman.serving.loading.breaking import VersionBreakers
from steersman.serving.loading.loader import Loader
from steersman.serving.planning.plan import Before
from steersman.serving.planning.planner import Planner
from steersman.serving.rollout.assignment import bucket, canary_buckets
from steersman.serving.rollout.deployment import Deployment
from steersman.serving.rollout.keyring import Keyring
from steersman.serving.rollout.state import DeploymentState
from steersman.serving.rollout.tokens import EpisodeToken, TokenCodec
from unit.serving.conftest import make_call

Document = Mapping[str, Any]
SALT = bytes(range(32))
KEYRING = Keyring(current=1, keys={1: SALT.hex(), 2: SALT[::-1].hex()})
TTL_S = 3600.0
GRACE_S = 600.0
ROLLOUT = "rollout-1"
OBSERVATION = (1.0, 3.0, 2.0, 0.0)
SPLIT: Document = {
    "lanes": {
        "stable": {"version": 1},
        "canary": {"version": 2, "share": 0.25},
        "control": {"share": 0.25},
    },
    "safety": {"fallback": [{"constant": 0}]},
}
"""Version 2 has a quarter of the episodes, a control group of version 1 another one."""
_CODEC = TokenCodec(KEYRING)


class EpisodeKit:
    """An engine over a repository.

    Args:
        root: The repository is its folder `bundles`.
        deployment: The deployment at first.
        keyring: Keys of the tokens.
    """

    def __init__(self, root: Path, deployment: Document | None = None, keyring: Keyring = KEYRING) -> None:
        self.now = 1_700_000_000.0
        self.policy = str((deployment or {}).get("policy", "toy"))
        self._begun = utc_now()
        self._segment = Segment.create(root / "counters", counters_layout(1, 200_000))
        self._planner = Planner(
            root / "bundles", {}, (), self._segment.allocator(), clock=self._date, grace_s=GRACE_S
        )
        breakers = VersionBreakers(lambda: self.now)
        self._loader = Loader(Slot.open(self._segment.path, 0).block, root, breakers=breakers)
        self._before = Before()
        self.engine = Engine(SALT, EpisodeKeeper(TokenCodec(keyring), TTL_S, lambda: self.now))
        self.deploy(deployment or {})

    def deploy(self, deployment: Document, *, cut: bool = False) -> None:
        """Another deployment of the policy, as from now on; `cut` ends the episodes of closed lanes."""
        document = Deployment.model_validate({"policy": "toy", **deployment})
        before = Before(self._before.lanes, self._before.proven, frozenset({"toy"} if cut else ()))
        states = {document.policy: DeploymentState(deployment=document, rollout_id=ROLLOUT)}
        plan = self._planner.plan(1, states, before)
        assert not plan.problems
        self.engine.swap(self._loader.load(plan.snapshot, self.engine.routing))
        self._before = Before(plan.lanes, plan.lanes)

    def decide(self, call: Call) -> Decisions:
        """The decisions of a call that is well formed."""
        (outcome,) = self.engine.decide([call])
        assert isinstance(outcome, Decisions), outcome
        return outcome

    def assigned(self) -> dict[str, int]:
        """Rows by how they found their lanes, in all lanes together; what did not happen is left out."""
        found: dict[str, int] = {}
        for placed in {lane.placed for lane in self._before.lanes}:
            counted = self._segment.total(placed).assignments.tolist()
            for name, count in zip(placed.spec.assigned_by, counted, strict=True):
                found[name] = found.get(name, 0) + count
        return {name: count for name, count in found.items() if count}

    def counts(self, lane: str = "stable") -> BlockView:
        """What has been counted in a lane."""
        lanes = [found for found in self._before.lanes if found.policy == self.policy]
        placed = next(found.placed for found in lanes if found.route.lane == lane)
        return self._segment.total(placed)

    def _date(self) -> datetime:
        return self._begun + timedelta(seconds=self.now - 1_700_000_000.0)


def lane_of(episode: str) -> str:
    """What the engine must decide, from the golden functions alone."""
    number = bucket(ROLLOUT, episode)
    ranges = canary_buckets(canary=0.25, control=0.25)
    return next(lane for lane, (first, end) in ranges.items() if first <= number < end)


def named(lane: str, count: int = 1, prefix: str = "e") -> list[str]:
    """Episodes of one lane."""
    names = (f"{prefix}{number}" for number in range(10_000))
    found = [name for name in names if lane_of(name) == lane]
    return found[:count]


def read(token: bytes) -> EpisodeToken:
    found = _CODEC.read(token, now_s=0)
    assert isinstance(found, EpisodeToken)
    return found


def reasons(decisions: Decisions) -> list[Reason]:
    return [REASONS[code] for code in decisions.reasons]


def call(*episodes: str, observation: Any = None, **fields: Any) -> Call:
    """A call of one row for each episode."""
    rows = [OBSERVATION] * len(episodes) if observation is None else observation
    return make_call(rows, episode_ids=list(episodes), **fields)


def go_on(before: Decisions, *episodes: str, **fields: Any) -> Call:
    """The next step of those episodes."""
    return call(*episodes, episode_tokens=before.episode_tokens, **fields)
