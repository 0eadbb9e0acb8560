"""An engine whose safety section, model, clock and commands a test changes as it goes, without processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.session import PolicySession
from steersman.safety.commands import CommandList, KillSwitch, Lease, Override
from steersman.safety.overrides import Commands
from steersman.serving.deciding.call import Call
from steersman.serving.decision import REASONS, SOURCES, Decisions, Intervention, Reason, Source
from steersman.serving.rollout.tokens import episode_hash
from support.episode_kit import EpisodeKit
from unit.serving.conftest import make_call

Array = NDArray[Any]
Outputs = dict[str, Array]
Behaviour = Callable[[Outputs], Outputs | None]
"""What becomes of a model's outputs, by name; it may raise, wait, and change them."""
LEFT = (3.0, 1.0, 0.0, 0.0)
"""An observation on which the toy policy is sure of choice 0."""
RIGHT = (0.0, 3.0, 1.0, 0.0)
"""One on which it is sure of choice 1."""
NAN = (float("nan"), 0.0, 0.0, 0.0)
HOUR_NS = 3600 * 10**9


class SafetyKit(EpisodeKit):
    """An engine over the toy policies `toy` and `cont`, one of which is deployed.

    Args:
        root: The repository is its folder `bundles`.
        safety: The deployment's safety section.
        policy: Which policy.
        deployment: The rest of the deployment.
    """

    def __init__(
        self, root: Path, safety: Mapping[str, Any] | None = None, policy: str = "toy", **deployment: Any
    ) -> None:
        self._deployment = {"policy": policy, **deployment}
        super().__init__(root, {**self._deployment, "safety": safety or {}})

    def protect(self, safety: Mapping[str, Any]) -> None:
        """Another safety section."""
        self.deploy({**self._deployment, "safety": safety})

    def command(self, *overrides: Override, killed: bool = False, lease_until_s: float | None = None) -> None:
        """What people order, in place of what they ordered before."""
        leases = () if lease_until_s is None else (self._lease(lease_until_s),)
        switch = KillSwitch(actor="ann") if killed else None
        listed = CommandList(kill_switch=switch, overrides=overrides, leases=leases)
        self.engine.obey(Commands.compile(listed, episode_hash))

    def order(self, kind: Any, *, seconds: float = 3600.0, **fields: Any) -> Override:
        """An override that lasts so long."""
        set_ns = int(self.now * 1e9)
        return Override(
            id=str(fields.pop("id", kind)),
            policy=self.policy,
            kind=kind,
            actor="ann",
            reason="a test",
            set_unix_nanos=set_ns,
            expires_unix_nanos=set_ns + int(seconds * 1e9),
            **fields,
        )

    def _lease(self, until_s: float) -> Lease:
        return Lease(policy=self.policy, until_unix_nanos=int(until_s * 1e9))

    def call(self, observations: Any, mask: Any = None, **fields: Any) -> Call:
        """A call of the policy; one row may be given alone."""
        rows = np.asarray(observations, np.float32).reshape(-1, 4)
        return make_call(rows, mask, policy=self.policy, **fields)

    def ask(self, observations: Any, mask: Any = None, **fields: Any) -> Decisions:
        """The decisions of such a call."""
        return self.decide(self.call(observations, mask, **fields))

    def episodes(self, *names: str) -> Episodes:
        """Episodes that go on together, a token from each step to the next."""
        return Episodes(self, names or ("e",))

    @contextmanager
    def model(self, behaviour: Behaviour, lane: str = "stable") -> Iterator[None]:
        """The model of a lane behaves like this."""
        lanes = self.engine.routing.ready(self.policy).lanes
        session = next(found.loaded.session for found in lanes if found.lane == lane)
        vars(session)["run"] = _behaving(session, behaviour)
        try:
            yield
        finally:
            del vars(session)["run"]


class Episodes:
    """Episodes that a test takes step by step on one engine, or on several in turn.

    Args:
        kit: The engine.
        names: Their ids.
    """

    def __init__(self, kit: SafetyKit, names: Sequence[str]) -> None:
        self.kit = kit
        self.names = list(names)
        self.tokens = [b""] * len(names)

    def step(self, observations: Any, *, after_s: float = 0.0, on: Any = None, **fields: Any) -> Decisions:
        """The next step of each, so many seconds after the last."""
        kit = on or self.kit
        kit.now += after_s
        rows = np.broadcast_to(np.asarray(observations, np.float32), (len(self.names), 4))
        decisions: Decisions = kit.ask(rows, episode_ids=self.names, episode_tokens=self.tokens, **fields)
        fresh = decisions.episode_tokens
        self.tokens = [new or old for new, old in zip(fresh, self.tokens, strict=True)]
        return decisions


def _behaving(session: PolicySession, behaviour: Behaviour) -> Callable[..., list[Array]]:
    run = session.run

    def behaving(names: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        found = dict(zip(names, map(np.array, run(names, feeds)), strict=True))
        changed = behaviour(found)
        return [(found if changed is None else changed)[name] for name in names]

    return behaving


def raises(outputs: Outputs) -> Outputs:
    """A model that cannot be run."""
    raise RuntimeError(f"no {', '.join(outputs)}")


def not_finite(outputs: Outputs) -> None:
    """A model whose numbers are NaN."""
    for array in outputs.values():
        if array.dtype.kind == "f":
            array[...] = np.nan


def wants(action: Any) -> Behaviour:
    """A model that always wants this."""

    def wanting(outputs: Outputs) -> None:
        for name in ("action", "sampled_action"):
            if name in outputs:
                outputs[name][...] = action

    return wanting


def source(decisions: Decisions, row: int = 0) -> Source:
    """Who made the action of a row."""
    return SOURCES[decisions.sources[row]]


def reason(decisions: Decisions, row: int = 0) -> Reason:
    """Why."""
    return REASONS[decisions.reasons[row]]


def told(decisions: Decisions, row: int = 0) -> tuple[Source, Reason, Any]:
    """Who made the action of a row, why, and the action."""
    return source(decisions, row), reason(decisions, row), decisions.actions[row].tolist()


def intervention(decisions: Decisions, row: int = 0) -> Intervention:
    """The one change of a row."""
    (found,) = [each for each in decisions.interventions if each.row == row]
    return found
