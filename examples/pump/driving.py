"""Drives the pump through a running server, one call a step, and keeps what came of it.

The simulation is faster than time, so each call says when its observation was made: that is what limits on
the rate of change are reckoned by. The call is made as any language makes it, from the published messages;
the episode's token goes back with the next step.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
from numpy.typing import NDArray
from plant import STEP_S, Pump

from steersman.v1 import policy_pb2 as pb
from steersman.v1.policy_pb2_grpc import PolicyServiceStub

BLIND = range(70, 76)
"""Steps on which the level sensor gives NaN."""
TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Drive:
    """One episode.

    Attributes:
        observations: [N, 2], as they were sent.
        wanted: [N], what the policy wanted; NaN where it was not asked.
        speeds: [N], what the server answered and the pump did.
        sources: [N], who made it; `nobody` where the row failed, and the speed stayed as it was.
        times_s: [N], Unix seconds of the observations.
    """

    observations: NDArray[np.float32]
    wanted: NDArray[np.float64]
    speeds: NDArray[np.float32]
    sources: list[str]
    times_s: NDArray[np.float64]

    def save(self, path: Path) -> None:
        """Writes it as `steersman check --rows` reads it."""
        np.savez(
            path,
            observations=self.observations,
            actions=self.speeds[:, None],
            episodes=np.zeros(len(self.speeds), np.int64),
            times_s=self.times_s,
        )


def drive(address: str, name: str, seed: int) -> Drive:
    """Lets a served policy drive the pump for an episode.

    Args:
        address: host:port of a server.
        name: Name of the episode.
        seed: Of the environment: the same demand every time.
    """
    plant = Pump()
    observation, _ = plant.reset(seed=seed)
    begun_s, ended = time.time(), False
    steps: list[_Step] = []
    with grpc.insecure_channel(address) as channel:
        episode = _Episode(PolicyServiceStub(channel), name)
        while not ended:
            number = len(steps)
            shown = observation.copy()
            if number in BLIND:
                shown[0] = np.nan
            before = steps[-1].speed if steps else 0.5
            steps.append(episode.step(shown, begun_s + number * STEP_S, before))
            observation, _, _, ended, _ = plant.step(np.array([steps[-1].speed], np.float32))
    return Drive(
        np.stack([step.observation for step in steps]),
        np.array([step.wanted for step in steps]),
        np.array([step.speed for step in steps], np.float32),
        [step.source for step in steps],
        np.array([step.at_s for step in steps]),
    )


@dataclass(frozen=True, slots=True)
class _Step:
    """One step of a drive; its fields are those of `Drive`."""

    observation: NDArray[np.float32]
    wanted: float
    speed: float
    source: str
    at_s: float


@dataclass(slots=True)
class _Episode:
    """The calls of one episode.

    Attributes:
        stub: The server.
        name: Name of the episode.
        answered: Steps that had an action.
        token: The token of the last of those.
    """

    stub: PolicyServiceStub
    name: str
    answered: int = 0
    token: bytes = b""

    def step(self, observation: NDArray[np.float32], at_s: float, before: float) -> _Step:
        """Asks for a speed. Where there is none, as without a level and a fallback, it stays as before."""
        try:
            answer = self.stub.Act(self._request(observation, at_s), timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                raise
            return _Step(observation, float("nan"), before, "nobody", at_s)
        self.token, self.answered = answer.episode_tokens[0], self.answered + 1
        source = pb.Source.Name(answer.sources[0]).removeprefix("SOURCE_").lower()
        return _Step(observation, _wanted(answer), answer.action.values[0], source, at_s)

    def _request(self, observation: NDArray[np.float32], at_s: float) -> pb.ActRequest:
        return pb.ActRequest(
            policy="pump",
            observation=pb.Tensor(values=observation.tolist()),
            episode_ids=[self.name],
            episode_tokens=[self.token],
            steps=[self.answered],
            observation_times_unix_nanos=[int(at_s * 1e9)],
        )


def _wanted(answer: pb.ActResponse) -> float:
    """What the policy wanted, before anything changed it; NaN where it was not asked."""
    for intervention in answer.interventions:
        return intervention.before.values[0] if intervention.HasField("before") else float("nan")
    return answer.action.values[0]
