"""The episodes of a stream, known by their names alone."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from steersman.client.errors import InvalidRequestError
from steersman.client.requests import EpisodeState

MAX_EPISODES = 4096
"""Episodes that are remembered; the one unused for longest is forgotten, and begins anew."""

Key = tuple[str, str]


@dataclass(slots=True)
class EpisodeMemory:
    """The states of episodes, by policy and name. Threads may share it, but not an episode."""

    _states: OrderedDict[Key, EpisodeState] = field(default_factory=OrderedDict)
    _busy: set[Key] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @contextmanager
    def step(
        self, policy: str, episodes: Sequence[str | EpisodeState]
    ) -> Iterator[Sequence[str | EpisodeState]]:
        """The episodes with states in place of names, for one step of each.

        Raises:
            InvalidRequestError: Another step of one of them is in flight.
        """
        taken: list[Key] = []
        try:
            with self._lock:
                states = [
                    e if isinstance(e, EpisodeState) else self._take((policy, e), taken) for e in episodes
                ]
            yield states
        finally:
            with self._lock:
                self._busy.difference_update(taken)

    def _take(self, key: Key, taken: list[Key]) -> EpisodeState:
        name = key[1]
        if not name:
            return EpisodeState("")  # of no episode
        if key in self._busy:
            message = f"a step of episode {name!r} is in flight; each needs the token of the one before"
            raise InvalidRequestError(message, reason="episode_in_flight")
        self._busy.add(key)
        taken.append(key)
        state = self._states.setdefault(key, EpisodeState(name))
        self._states.move_to_end(key)
        if len(self._states) > MAX_EPISODES:
            self._states.popitem(last=False)
        return state

    def forget(self, policy: str, episode: str) -> None:
        """The episode has ended; the same name begins anew."""
        with self._lock:
            self._states.pop((policy, episode), None)
