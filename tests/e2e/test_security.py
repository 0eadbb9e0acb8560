"""A real server with TLS, certificates and tokens: who gets in, where, and who does not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from steersman.client import PolicyClient
from steersman.serving.testing import RunningServer, running_server
from steersman.v1 import control_pb2, control_pb2_grpc
from steersman.v1 import policy_pb2 as pb
from steersman.v1 import policy_pb2_grpc as rpc
from support.certificates import Authority, Pem
from support.scrape import scrape, value, wait_until

OK, UNAUTHENTICATED = grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED
DENIED, UNAVAILABLE = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE
HOUR = timedelta(hours=1)
ROW = np.asarray([[1, 3, 2, 0]], np.float32)
ACT = pb.ActRequest(
    policy="toy", observation=pb.Tensor(dtype=pb.DTYPE_FLOAT32, shape=ROW.shape, data=ROW.tobytes())
)


def steersman(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    command = [sys.executable, "-P", "-m", "steersman.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def new_token(file: Path, name: str, role: str = "decide") -> str:
    """A token of a new caller."""
    made = steersman("tokens", "new", "--name", name, "--role", role, "--file", file)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def dial(address: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.Channel:
    """A connection of its own, so that the kernel picks the worker."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    if credentials is None:
        return grpc.insecure_channel(address, options)
    return grpc.secure_channel(address, credentials, options)


Asking = Callable[..., Any]


def act(channel: grpc.Channel, **options: Any) -> Any:
    return rpc.PolicyServiceStub(channel).Act(ACT, timeout=10, **options)


def act_stream(channel: grpc.Channel, **options: Any) -> Any:
    return next(iter(rpc.PolicyServiceStub(channel).ActStream(iter([ACT]), timeout=10, **options)))


def deployments(channel: grpc.Channel, **options: Any) -> Any:
    request = control_pb2.ListDeploymentsRequest()
    return control_pb2_grpc.ControlServiceStub(channel).ListDeployments(request, timeout=10, **options)


def refresh(channel: grpc.Channel, **options: Any) -> Any:
    request = control_pb2.RefreshRepositoryRequest()
    return control_pb2_grpc.ControlServiceStub(channel).RefreshRepository(request, timeout=10, **options)


def status(
    asking: Asking, address: str, token: str = "", credentials: grpc.ChannelCredentials | None = None
) -> grpc.StatusCode:
    """How a call ends, on a connection of its own."""
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    with dial(address, credentials) as channel:
        try:
            asking(channel, metadata=metadata)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()  # type: ignore[attr-defined]
            return code
    return OK


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Path:
    """A folder with the server's certificate, the authority's, and a file of callers."""
    folder = tmp_path_factory.mktemp("security")
    authority.issue("server").write(folder, "server")
    (folder / "ca.pem").write_bytes(authority.pem)
    return folder


@pytest.fixture(scope="module")
def tokens(folder: Path) -> dict[str, str]:
    """A token for each role."""
    roles = ("decide", "operate", "admin")
    return {role: new_token(folder / "tokens.yaml", f"the-{role}", role) for role in roles}


def tls_options(folder: Path) -> list[str]:
    return ["--tls-certificate", str(folder / "server.pem"), "--tls-key", str(folder / "server.key")]


@pytest.fixture(scope="module")
def secured(
    repository: Path, deployment: Path, folder: Path, tokens: dict[str, str]
) -> Iterator[RunningServer]:
    """A server with two workers, TLS and tokens."""
    options = [*tls_options(folder), "--tokens", str(folder / "tokens.yaml")]
    with running_server(repository, deployments=[deployment], workers=2, arguments=options) as server:
        yield server


@pytest.fixture(scope="module")
def tls(authority: Authority) -> grpc.ChannelCredentials:
    """What a client needs to believe the server."""
    return grpc.ssl_channel_credentials(authority.pem)


def test_the_client_gets_in_with_its_token(
    secured: RunningServer, tokens: dict[str, str], authority: Authority
) -> None:
    with PolicyClient(secured.grpc, token=tokens["decide"], ca=authority.pem) as client:
        assert client.act("toy", [1.0, 3.0, 2.0, 0.0]).action == 1


def test_the_commands_get_in_with_a_token_from_a_file(
    secured: RunningServer, folder: Path, tokens: dict[str, str]
) -> None:
    (folder / "token").write_text(tokens["operate"] + "\n")
    known, ca = ["--token-file", folder / "token"], ["--ca", folder / "ca.pem"]
    finished = steersman("act", "toy", "-o", "[1, 3, 2, 0]", "--target", secured.grpc, *known, *ca)
    assert (finished.returncode, finished.stdout.split()[:2]) == (0, ["action", "1"]), finished.stderr
    assert steersman("policies", "--target", secured.grpc, *known, *ca).returncode == 0
    assert steersman("health", "--target", secured.grpc, *ca).stdout == "SERVING\n"
    assert steersman("deploy", "show", "--server", secured.control, *known, *ca).returncode == 0
    refused = steersman("act", "toy", "-o", "[1, 3, 2, 0]", "--target", secured.grpc, *ca)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "expected their token. Show it with --token-file or STEERSMAN_TOKEN." in refused.stderr
    (folder / "wrong").write_text("stm_wrong")
    unknown = ["--token-file", folder / "wrong", *ca]
    refused = steersman("act", "toy", "-o", "[1, 3, 2, 0]", "--target", secured.grpc, *unknown)
    assert "does not know the token that was shown" in refused.stderr


def test_what_is_wrong_with_tls_is_one_line_of_a_command(secured: RunningServer, folder: Path) -> None:
    (folder / "stranger.pem").write_bytes(Authority("stranger").pem)
    mistaken = (
        ([], "speaks TLS, and this client plain text"),
        (["--ca", folder / "stranger.pem"], "is of no authority that this client believes"),
    )
    for options, said in mistaken:
        for words in (("health", "--server", secured.grpc), ("deploy", "show", "--server", secured.control)):
            finished = steersman(*words, *options)
            assert finished.returncode == 1
            assert said in finished.stderr
            assert finished.stderr.count("\n") == 1


ROLES = [
    (act, {"decide": OK, "operate": OK, "admin": OK}),
    (act_stream, {"decide": OK, "operate": OK, "admin": OK}),
    (deployments, {"decide": DENIED, "operate": OK, "admin": OK}),
    (refresh, {"decide": DENIED, "operate": DENIED, "admin": OK}),
]


@pytest.mark.parametrize(("asking", "expected"), ROLES)
def test_each_service_needs_its_role(
    secured: RunningServer,
    tokens: dict[str, str],
    tls: grpc.ChannelCredentials,
    asking: Asking,
    expected: dict[str, grpc.StatusCode],
) -> None:
    address = secured.grpc if asking in {act, act_stream} else secured.control
    found = {role: status(asking, address, token, tls) for role, token in tokens.items()}
    assert found == expected
    assert status(asking, address, "", tls) is UNAUTHENTICATED
    assert status(asking, address, "stm_" + "A" * 43, tls) is UNAUTHENTICATED


def test_health_and_reflection_answer_everybody(secured: RunningServer, tls: grpc.ChannelCredentials) -> None:
    with dial(secured.grpc, tls) as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        answers = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request]))
        names = {service.name for service in next(iter(answers)).list_services_response.service}
    assert "steersman.v1.PolicyService" in names
    assert "steersman.v1.ControlService" not in names


def test_the_server_is_not_spoken_to_in_plain_text_nor_believed_without_its_authority(
    secured: RunningServer, tokens: dict[str, str]
) -> None:
    stranger = grpc.ssl_channel_credentials(Authority("stranger").pem)
    for asking, address in ((act, secured.grpc), (deployments, secured.control)):
        assert status(asking, address, tokens["admin"]) is UNAVAILABLE
        assert status(asking, address, tokens["admin"], stranger) is UNAVAILABLE


def test_refused_calls_are_counted(
    secured: RunningServer, tokens: dict[str, str], tls: grpc.ChannelCredentials
) -> None:
    before = value(scrape(secured.http), "steersman_calls_total", method="Act", code="unauthenticated")
    status(act, secured.grpc, "stm_wrong", tls)
    after = value(scrape(secured.http), "steersman_calls_total", method="Act", code="unauthenticated")
    assert after == before + 1


def test_the_history_has_the_name_of_the_token_and_not_what_was_said(
    secured: RunningServer, tokens: dict[str, str], tls: grpc.ChannelCredentials
) -> None:
    metadata = (("authorization", f"Bearer {tokens['operate']}"),)
    document = "policy: cont\nlanes: {stable: {version: 1}}\n"
    change = control_pb2.Change(actor="somebody else", reason="a test")
    request = control_pb2.ApplyDeploymentRequest(document=document, change=change)
    with dial(secured.control, tls) as channel:
        stub = control_pb2_grpc.ControlServiceStub(channel)
        stub.ApplyDeployment(request, timeout=20, metadata=metadata)
        history = stub.GetHistory(
            control_pb2.GetHistoryRequest(policy="cont", limit=1), timeout=10, metadata=metadata
        )
    (entry,) = history.entries
    assert (entry.actor, entry.reason) == ("the-operate", "a test")


def everywhere(
    server: RunningServer, token: str, tls: grpc.ChannelCredentials, wanted: grpc.StatusCode
) -> bool:
    """Whether workers and control service alike answer so; eight connections reach both workers."""
    asked = [status(act, server.grpc, token, tls) for _ in range(8)]
    return {*asked, status(deployments, server.control, token, tls)} == {wanted}


def workers(supervisor: int) -> list[int]:
    """Ids of the processes that answer calls."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return [int(pid) for pid in children]


def test_callers_come_and_go_while_the_server_runs(
    secured: RunningServer, folder: Path, tokens: dict[str, str], tls: grpc.ChannelCredentials
) -> None:
    file = folder / "tokens.yaml"
    token = new_token(file, "newcomer", "operate")
    wait_until(lambda: everywhere(secured, token, tls, OK), "letting in the newcomer")
    right = file.read_text()
    file.write_text("callers: [")
    supervisor = secured.process.pid
    victim = workers(supervisor)[0]
    os.kill(victim, signal.SIGKILL)
    wait_until(
        lambda: len(workers(supervisor)) == 2 and victim not in workers(supervisor), "starting another"
    )
    wait_until(lambda: everywhere(secured, token, tls, OK), "going on with the callers that were right")
    file.write_text(right)
    assert steersman("tokens", "revoke", "newcomer", "--file", file).returncode == 0
    wait_until(lambda: everywhere(secured, token, tls, UNAUTHENTICATED), "refusing who was revoked")
    assert everywhere(secured, tokens["admin"], tls, OK)


def test_logs_and_arguments_show_no_token(repository: Path, folder: Path, tmp_path: Path) -> None:
    file, log = tmp_path / "tokens.yaml", tmp_path / "log"
    token = new_token(file, "robot")
    options = ["--tokens", str(file), "--log-level", "debug"]
    with running_server(repository, arguments=options, log=log) as server:
        assert status(act, server.grpc, token) is OK
        assert status(act, server.grpc, token + "x") is UNAUTHENTICATED
    assert token not in log.read_text()


@contextmanager
def mutual(
    repository: Path, folder: Path, authority: Authority, callers: str = ""
) -> Iterator[RunningServer]:
    """A server that asks for certificates."""
    options = [*tls_options(folder), "--tls-client-ca", str(folder / "ca.pem")]
    if callers:
        file = folder / "certificates.yaml"
        file.write_text(callers)
        options += ["--tokens", str(file)]
    with running_server(repository, arguments=options) as server:
        yield server


def showing(authority: Authority, pem: Pem | None = None) -> grpc.ChannelCredentials:
    """Believes the authority, and shows a certificate."""
    if pem is None:
        return grpc.ssl_channel_credentials(authority.pem)
    return grpc.ssl_channel_credentials(authority.pem, pem.key, pem.certificate)


def test_with_mtls_only_a_valid_certificate_of_the_authority_opens_a_connection(
    repository: Path, folder: Path, authority: Authority
) -> None:
    valid = showing(authority, authority.issue("robot.example"))
    others = {
        "none": showing(authority),
        "expired": showing(authority, authority.issue("robot.example", begins=-2 * HOUR, ends=-HOUR)),
        "of another authority": showing(authority, Authority("stranger").issue("robot.example")),
    }
    pem, key = authority.issue("operator").write(folder, "operator")
    shown_by_commands = ["--ca", folder / "ca.pem", "--certificate", pem, "--key", key]
    with mutual(repository, folder, authority) as server:
        assert steersman("health", "--server", server.grpc, *shown_by_commands).stdout == "SERVING\n"
        assert steersman("deploy", "show", "--server", server.control, *shown_by_commands).returncode == 0
        for asking, address in ((act, server.grpc), (deployments, server.control)):
            assert status(asking, address, "", valid) is OK
            found = {name: status(asking, address, "", shown) for name, shown in others.items()}
            assert found == dict.fromkeys(others, UNAVAILABLE)


CERTIFIED = """\
callers:
  - {name: robot, role: decide, certificate: robot.example}
  - {name: release, role: operate, certificate: release.example}
"""


def test_with_mtls_and_callers_a_certificate_has_its_role(
    repository: Path, folder: Path, authority: Authority
) -> None:
    names = ("robot.example", "release.example", "stranger.example")
    shown = {name: showing(authority, authority.issue(name)) for name in names}
    with mutual(repository, folder, authority, CERTIFIED) as server:
        decides = [status(act, server.grpc, "", certificate) for certificate in shown.values()]
        streams = [status(act_stream, server.grpc, "", certificate) for certificate in shown.values()]
        operates = [status(deployments, server.control, "", certificate) for certificate in shown.values()]
    assert decides == streams == [OK, OK, UNAUTHENTICATED]
    assert operates == [DENIED, OK, UNAUTHENTICATED]


@pytest.mark.parametrize("protection", ["tokens", "TLS"])
def test_the_native_transport_is_refused_with_protection_that_it_does_not_have(
    repository: Path, folder: Path, tokens: dict[str, str], tmp_path: Path, protection: str
) -> None:
    options = ["--tokens", str(folder / "tokens.yaml")] if protection == "tokens" else tls_options(folder)
    state = ["--state-dir", tmp_path, "--port", 0, "--http-port", 0, "--control-port", 0]
    finished = steersman("serve", "--repository", repository, *state, "--transport", "native", *options)
    assert finished.returncode == 2
    assert f"transport: the native transport has no {protection}" in finished.stderr.splitlines()[-1]


def test_auto_takes_grpcio_where_there_are_tokens_and_says_why(
    repository: Path, folder: Path, tokens: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with running_server(repository, arguments=["--tokens", str(folder / "tokens.yaml")], log=log) as server:
        assert status(act, server.grpc, tokens["decide"]) is OK
        assert status(act, server.grpc) is UNAUTHENTICATED
    (entry,) = [e for e in map(json.loads, log.read_text().splitlines()) if e["message"] == "transport"]
    assert (entry["transport"], entry["why"]) == ("grpcio", "the native transport has no tokens")
