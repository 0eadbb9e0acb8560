"""The Python client: numpy in, decisions out, blocking or with asyncio.

Example:
    from steersman.client import PolicyClient

    with PolicyClient("127.0.0.1:50051") as client:
        policy = client.policy("cartpole")
        with policy.episode() as episode:
            decision = episode.act(observation, mask=[True, True])
            env.step(decision.action)

Needs numpy, grpcio and protobuf, and nothing else of Steersman than the wire contract, `steersman.v1`.
"""

from steersman.client.aio import AsyncEpisode, AsyncPolicy, AsyncPolicyClient
from steersman.client.blocking import Episode, Policy, PolicyClient
from steersman.client.core import Ambient
from steersman.client.decision import Action, Decision, Decisions, Intervention, RowError, Source
from steersman.client.description import (
    ActionKind,
    ActionSpec,
    DistributionKind,
    Mode,
    ObservationSpec,
    PolicyDescription,
    PolicySummary,
    PolicyVersion,
    VersionState,
)
from steersman.client.errors import (
    ClientError,
    DeadlineExceededError,
    InvalidRequestError,
    NotSupportedError,
    PolicyNotFoundError,
    RowFailedError,
    ServerUnavailableError,
)
from steersman.client.outcomes import EpisodeEnd, Outcome, OutcomeError, OutcomeReport
from steersman.client.plain_values import plain
from steersman.client.requests import EpisodeState, Evidence, Observation

__all__ = [
    "Action",
    "ActionKind",
    "ActionSpec",
    "Ambient",
    "AsyncEpisode",
    "AsyncPolicy",
    "AsyncPolicyClient",
    "ClientError",
    "DeadlineExceededError",
    "Decision",
    "Decisions",
    "DistributionKind",
    "Episode",
    "EpisodeEnd",
    "EpisodeState",
    "Evidence",
    "Intervention",
    "InvalidRequestError",
    "Mode",
    "NotSupportedError",
    "Observation",
    "ObservationSpec",
    "Outcome",
    "OutcomeError",
    "OutcomeReport",
    "Policy",
    "PolicyClient",
    "PolicyDescription",
    "PolicyNotFoundError",
    "PolicySummary",
    "PolicyVersion",
    "RowError",
    "RowFailedError",
    "ServerUnavailableError",
    "Source",
    "VersionState",
    "plain",
]
