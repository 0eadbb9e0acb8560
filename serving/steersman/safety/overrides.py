"""Overrides, kill switch and leases, compiled: who decides a row instead of its policy.

The strongest that is in force decides a row: the kill switch, then a lease that has expired, then what was
ordered for its episode, for its lane, for its policy. Whether something is over is seen here, by the time
that the caller gives, so that nobody has to be told in time.

A pinned action is not above the mask and the constraints: who applies it asks them, and gives rows that may
not have it to the fallback chain, with the same reason.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from steersman.bundle.specs import ActionSpec
from steersman.safety.actions import parse_action
from steersman.safety.columns import Array, Rows
from steersman.safety.commands import NO_COMMANDS, CommandList, Override
from steersman.safety.errors import SafetyError

EpisodeKey = Callable[[str, str], Hashable]
"""What rows name an episode by, from policy and episode id."""
ORDER_REASONS: tuple[str, ...] = (
    "",
    "override_pinned",
    "override_fallback",
    "kill_switch",
    "lease_expired",
)
"""Why a row is not its policy's. The position of a reason is its code in `Orders.codes`."""
FREE, PINNED, FALLBACK, KILLED, EXPIRED = range(5)
NOBODY = -1


@dataclass(frozen=True, slots=True)
class Orders:
    """What is ordered for N rows.

    Attributes:
        codes: [N] int8, positions in `ORDER_REASONS`; 0 where the policy answers.
        by: [N] int64, position in `ids` of the override that decides; -1 where none does, as for the kill
            switch and leases.
        ids: Ids of the overrides that decide rows.
        actions: [N, *shape], pinned actions; zeros elsewhere. None where no row has one.
    """

    codes: NDArray[np.int8]
    by: NDArray[np.int64]
    ids: tuple[str, ...] = ()
    actions: Array | None = None

    @property
    def pinned(self) -> Rows:
        """[N] bool, rows that get their pinned action, if mask and constraints permit it."""
        rows: Rows = self.codes == PINNED
        return rows

    @property
    def refused(self) -> Rows:
        """[N] bool, rows that the policy does not answer, pinned ones included."""
        rows: Rows = self.codes != FREE
        return rows


class Deciding(NamedTuple):
    """The lane that decides rows: its name, the version that runs in it, and the policy's action space."""

    name: str
    version: int
    action: ActionSpec


@dataclass(frozen=True, slots=True)
class _Order:
    """An override, ready for use. `parsed` remembers the pinned action, by the action space asked for."""

    override: Override
    parsed: dict[int, tuple[ActionSpec, Array | None]] = field(default_factory=dict)

    def is_over(self, now_unix_nanos: int) -> bool:
        return now_unix_nanos >= self.override.expires_unix_nanos

    def action(self, spec: ActionSpec) -> Array | None:
        """The pinned action; None where nothing is pinned, or what is pinned is no action of this space.

        The latter can be where the policy has another action space by now; the policy must not answer then.
        """
        known = self.parsed.get(id(spec))
        if known is None:
            # With the space itself, so that no other one can come to have its id.
            known = self.parsed[id(spec)] = (spec, self._parse(spec))
        return known[1]

    def _parse(self, spec: ActionSpec) -> Array | None:
        if self.override.kind != "pin":
            return None
        try:
            return parse_action(self.override.action, spec, where=f"override {self.override.id}")
        except SafetyError:
            return None


class PolicyCommands:
    """What is ordered for one policy.

    Args:
        overrides: Its overrides; where there are two for one target, the later one counts.
        killed: Whether the kill switch is on.
        lease_until: Unix nanoseconds until which it may answer; None where its deployment asks for no lease.
        key: What rows name an episode by.
    """

    def __init__(
        self, overrides: Iterable[Override], *, killed: bool, lease_until: int | None, key: EpisodeKey
    ) -> None:
        self._killed = killed
        self._lease_until = lease_until
        self._whole: _Order | None = None
        self._lanes: dict[str, _Order] = {}
        self._episodes: dict[Hashable, _Order] = {}
        for override in overrides:
            order = _Order(override)
            if override.scope == "episode":
                self._episodes[key(override.policy, override.episode_id)] = order
            elif override.scope == "lane":
                self._lanes[override.lane] = order
            else:
                self._whole = order

    def version(self, lane: str, episode: Hashable, now_unix_nanos: int) -> int:
        """The version that a row is frozen to; 0 for none. Asked before the row has its lane for good.

        It outranks the version that a call asks for. Where that version is not loaded the row stays where it
        is, and `orders` gives it to the fallback chain.

        Args:
            lane: The lane that the row would go to.
            episode: What names its episode; whatever is no key of one where it has none.
            now_unix_nanos: The time.
        """
        if self._killed:
            return 0
        order = self._order(lane, episode, now_unix_nanos)
        return order.override.version if order is not None else 0

    def orders(
        self,
        lane: Deciding,
        rows: int,
        episodes: Sequence[Hashable] | None,
        now_unix_nanos: int,
    ) -> Orders | None:
        """What is ordered for rows of one lane; None where nothing is.

        A row that is frozen to another version than the lane's is the fallback chain's: no version answers
        in place of one that was named.

        Args:
            lane: The lane that decides them.
            rows: Number of rows N.
            episodes: [N] what names their episodes; None where no row has one.
            now_unix_nanos: The time.
        """
        if self._killed:
            return _all(rows, KILLED)
        if self._lease_until is not None and now_unix_nanos >= self._lease_until:
            return _all(rows, EXPIRED)
        found = _Columns(lane, rows)
        found.give(slice(None), self._order(lane.name, None, now_unix_nanos))
        if episodes and self._episodes:
            for row, episode in enumerate(episodes):
                if episode in self._episodes:
                    found.give(row, self._order(lane.name, episode, now_unix_nanos))
        return found.orders()

    def _order(self, lane: str, episode: Hashable, now_unix_nanos: int) -> _Order | None:
        """The narrowest override in force."""
        for order in (self._episodes.get(episode), self._lanes.get(lane), self._whole):
            if order is not None and not order.is_over(now_unix_nanos):
                return order
        return None


def _all(rows: int, code: int) -> Orders:
    return Orders(np.full(rows, code, np.int8), np.full(rows, NOBODY, np.int64))


class _Columns:
    """The orders of rows, row by row or all at once, the later the stronger."""

    def __init__(self, lane: Deciding, rows: int) -> None:
        self._lane = lane
        self._rows = rows
        self._codes: NDArray[np.int8] | None = None
        self._by = np.empty(0, np.int64)
        self._places: dict[str, int] = {}
        self._actions: Array | None = None

    def give(self, rows: int | slice, order: _Order | None) -> None:
        """Rows get this order, and none that they had before."""
        if order is None or order.override.version == self._lane.version:
            if self._codes is not None:
                self._codes[rows], self._by[rows] = FREE, NOBODY
            return
        if self._codes is None:
            self._codes = np.zeros(self._rows, np.int8)
            self._by = np.full(self._rows, NOBODY, np.int64)
        self._by[rows] = self._places.setdefault(order.override.id, len(self._places))
        action = order.action(self._lane.action)
        self._codes[rows] = FALLBACK if action is None else PINNED
        if action is None:
            return
        if self._actions is None:
            self._actions = np.zeros((self._rows, *action.shape), action.dtype)
        self._actions[rows] = action

    def orders(self) -> Orders | None:
        """None where nothing keeps the lane's version from answering any row."""
        if self._codes is None or not self._codes.any():
            return None
        if self._actions is not None:
            self._actions[self._codes != PINNED] = 0
        return Orders(self._codes, self._by, tuple(self._places), self._actions)


class Commands:
    """All that is ordered now, compiled. Immutable; swapped as a whole. Use `Commands.compile`.

    Attributes:
        idle: Whether nothing at all is ordered, so that nobody needs to ask.
    """

    def __init__(self, policies: Mapping[str, PolicyCommands], others: PolicyCommands | None) -> None:
        self._policies = policies
        self._others = others
        self.idle = not policies and others is None

    @classmethod
    def compile(cls, listed: CommandList, key: EpisodeKey = lambda _policy, episode: episode) -> Commands:
        """The commands of a list.

        Args:
            listed: The list.
            key: What rows name an episode by; its id if left out.
        """
        killed = listed.kill_switch is not None
        leases = {lease.policy: lease.until_unix_nanos for lease in listed.leases}
        by_policy: dict[str, list[Override]] = {policy: [] for policy in leases}
        for override in sorted(listed.overrides, key=lambda found: found.set_unix_nanos):
            by_policy.setdefault(override.policy, []).append(override)
        policies = {
            policy: PolicyCommands(overrides, killed=killed, lease_until=leases.get(policy), key=key)
            for policy, overrides in by_policy.items()
        }
        others = PolicyCommands((), killed=True, lease_until=None, key=key) if killed else None
        return cls(policies, others)

    def of(self, policy: str) -> PolicyCommands | None:
        """What is ordered for a policy; None where nothing is."""
        return self._policies.get(policy, self._others)


FREE_REIN = Commands.compile(NO_COMMANDS)
"""Nothing is ordered."""
