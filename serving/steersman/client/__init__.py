"""The Python client: numpy in, decisions out, blocking or with asyncio.

Example:
    from steersman.client import PolicyClient

    with PolicyClient("127.0.0.1:50051") as client:
        policy = client.policy("cartpole")
        with policy.episode() as episode:
            decision = episode.act(observation, mask=[True, True])
            env.step(decision.action)

Needs numpy, grpcio and protobuf, and nothing else of Steersman than the wire contract, `steersman.v1`.
The exception is `steersman.local_check`, which is not imported here: it needs the extra `check`.
"""

from steersman.client.aio import (
    AsyncActStream,
    AsyncEpisode,
    AsyncPolicy,
    AsyncPolicyClient,
    AsyncPolicyStream,
)
from steersman.client.blocking import ActStream, Episode, Policy, PolicyClient, PolicyStream
from steersman.client.checking import ActionCheck
from steersman.client.coalescing import Coalesce
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
from steersman.client.effects import Ambient
from steersman.client.errors import (
    ClientError,
    DeadlineExceededError,
    InvalidRequestError,
    NotSupportedError,
    OverloadedError,
    PermissionDeniedError,
    PolicyNotFoundError,
    RowFailedError,
    ServerUnavailableError,
    TlsError,
    UnauthenticatedError,
    UnsafeActionError,
)
from steersman.client.outcomes import EpisodeEnd, Outcome, OutcomeError, OutcomeReport
from steersman.client.plain_values import plain
from steersman.client.refusals import UnsafeRowError
from steersman.client.replicas import Health, ReplicaStatus
from steersman.client.requests import EpisodeState, Evidence, Observation

__all__ = [
    "ActStream",
    "Action",
    "ActionCheck",
    "ActionKind",
    "ActionSpec",
    "Ambient",
    "AsyncActStream",
    "AsyncEpisode",
    "AsyncPolicy",
    "AsyncPolicyClient",
    "AsyncPolicyStream",
    "ClientError",
    "Coalesce",
    "DeadlineExceededError",
    "Decision",
    "Decisions",
    "DistributionKind",
    "Episode",
    "EpisodeEnd",
    "EpisodeState",
    "Evidence",
    "Health",
    "Intervention",
    "InvalidRequestError",
    "Mode",
    "NotSupportedError",
    "Observation",
    "ObservationSpec",
    "Outcome",
    "OutcomeError",
    "OutcomeReport",
    "OverloadedError",
    "PermissionDeniedError",
    "Policy",
    "PolicyClient",
    "PolicyDescription",
    "PolicyNotFoundError",
    "PolicyStream",
    "PolicySummary",
    "PolicyVersion",
    "ReplicaStatus",
    "RowError",
    "RowFailedError",
    "ServerUnavailableError",
    "Source",
    "TlsError",
    "UnauthenticatedError",
    "UnsafeActionError",
    "UnsafeRowError",
    "VersionState",
    "plain",
]
