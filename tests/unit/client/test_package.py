"""The package as a whole: what it imports, what it offers, and that the two clients offer the same."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import steersman.client
from steersman.client import (
    ActStream,
    AsyncActStream,
    AsyncEpisode,
    AsyncPolicy,
    AsyncPolicyClient,
    AsyncPolicyStream,
    Episode,
    Policy,
    PolicyClient,
    PolicyStream,
    Source,
    plain,
)
from steersman.client.channel import channel_options, is_on_this_host
from steersman.v1 import policy_pb2 as pb

IMPORT = "import sys, json, steersman.client; print(json.dumps(sorted(sys.modules)))"
ALLOWED = {"google", "grpc", "numpy", "steersman", "typing_extensions"}
LOOKED_FOR_BY_GRPC = {"cython_runtime", "grpc_health", "grpc_reflection", "grpc_tools"}


def test_importing_it_pulls_numpy_grpc_and_protobuf_only() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
    modules = json.loads(done.stdout)
    roots = {name.partition(".")[0] for name in modules if not name.startswith("__editable__")}
    started_with = {"sitecustomize", "usercustomize", "_distutils_hack", "__main__", "coverage"}
    unknown = {
        root for root in roots - set(sys.stdlib_module_names) - started_with if not root.startswith("_")
    }
    assert unknown - LOOKED_FOR_BY_GRPC <= ALLOWED
    ours = {".".join(name.split(".")[:2]) for name in modules if name.startswith("steersman.")}
    assert ours == {"steersman.client", "steersman.v1"}


def test_the_public_names_are_these() -> None:
    assert sorted(steersman.client.__all__) == steersman.client.__all__
    assert {name for name in vars(steersman.client) if name[0].isupper()} <= set(steersman.client.__all__)
    assert steersman.client.__all__ == [
        "ActStream", "Action", "ActionCheck", "ActionKind", "ActionSpec", "Ambient", "AsyncActStream",
        "AsyncEpisode", "AsyncPolicy", "AsyncPolicyClient", "AsyncPolicyStream", "ClientError",
        "Coalesce", "DeadlineExceededError", "Decision", "Decisions", "DistributionKind", "Episode",
        "EpisodeEnd", "EpisodeState", "Evidence", "Health", "Intervention", "InvalidRequestError",
        "Mode", "NotSupportedError", "Observation", "ObservationSpec", "Outcome", "OutcomeError",
        "OutcomeReport", "OverloadedError", "PermissionDeniedError", "Policy", "PolicyClient",
        "PolicyDescription", "PolicyNotFoundError", "PolicyStream", "PolicySummary",
        "PolicyVersion", "ReplicaStatus", "RowError", "RowFailedError", "ServerUnavailableError",
        "Source", "TlsError", "UnauthenticatedError", "UnsafeActionError", "UnsafeRowError",
        "VersionState", "plain",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("blocking", "asyncio"),
    [
        (PolicyClient, AsyncPolicyClient),
        (Policy, AsyncPolicy),
        (Episode, AsyncEpisode),
        (ActStream, AsyncActStream),
        (PolicyStream, AsyncPolicyStream),
    ],
)
def test_both_clients_offer_the_same(blocking: Any, asyncio: Any) -> None:
    def surface(kind: Any) -> dict[str, str]:
        members = {name: value for name, value in vars(kind).items() if not name.startswith("_")}
        return {
            name: str(inspect.signature(value)).replace("Async", "") if callable(value) else "property"
            for name, value in members.items()
        }

    assert surface(blocking) == surface(asyncio)
    parameters = inspect.signature(blocking.__init__).parameters
    assert list(parameters) == list(inspect.signature(asyncio.__init__).parameters)


def test_help_shows_what_a_caller_gets() -> None:
    assert str(inspect.signature(PolicyClient.act)).endswith("-> 'Decision'")
    assert "Steps" not in str(inspect.signature(AsyncPolicyClient.describe))
    assert (inspect.getdoc(PolicyClient.act) or "").startswith("Decides one observation.")
    assert inspect.iscoroutinefunction(AsyncPolicyClient.act)


def test_the_marks_of_failures_are_the_servers() -> None:
    from steersman.client import failures
    from steersman.serving.rpc import status

    for name in ("REASON", "ROW", "RETRYABLE", "PUSHBACK", "RETRY_AFTER"):
        key = f"{name}_METADATA_KEY"
        assert getattr(failures, key) == getattr(status, key)


def test_the_vocabulary_is_the_wires_and_the_servers() -> None:
    from steersman.serving import decision

    own = {"unknown", "local_fallback"}
    assert {source.value for source in Source} - own == {source.value for source in decision.Source}
    assert {f"SOURCE_{source.name}" for source in Source if source not in {"none", *own}} == set(
        pb.Source.keys()
    ) - {"SOURCE_UNSPECIFIED"}


@pytest.mark.parametrize(
    ("target", "here"),
    [
        ("localhost:1", True),
        ("127.0.0.1:50051", True),
        ("127.8.9.1:1", True),
        ("[::1]:1", True),
        ("dns:///localhost:1", True),
        ("ipv4:127.0.0.1:1", True),
        ("unix:/run/steersman.sock", True),
        ("10.0.0.1:1", False),
        ("policies.example:443", False),
        ("dns:///policies.example:443", False),
        ("", False),
    ],
)
def test_proxies_are_passed_by_on_this_host_only(target: str, here: bool) -> None:
    assert is_on_this_host(target) == here
    assert (("grpc.enable_http_proxy", 0) in channel_options(target)) == here


def test_options_given_outrank_the_defaults() -> None:
    options = dict(channel_options("localhost:1", [("grpc.use_local_subchannel_pool", 0), ("grpc.x", "y")]))
    assert (options["grpc.use_local_subchannel_pool"], options["grpc.x"]) == (0, "y")


def test_plain_gives_json_types() -> None:
    value = {
        "array": np.array([[1.0, float("nan")]]),
        "scalar": np.float32(0.5),
        "bytes": b"\x0f",
        "source": Source.POLICY,
        "dtype": np.dtype("f4"),
        3: (True, None, 1, "x", float("inf")),
    }
    assert plain(value) == {
        "array": [[1.0, None]],
        "scalar": 0.5,
        "bytes": "0f",
        "source": "policy",
        "dtype": "float32",
        "3": [True, None, 1, "x", None],
    }
    assert plain(steersman.client.PolicyVersion(1, steersman.client.VersionState.READY))["state"] == "ready"
