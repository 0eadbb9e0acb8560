from __future__ import annotations

import pytest
from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse

from support.toy_server import Toy, toy_server
from unit.cli.conftest import Steersman


@pytest.mark.parametrize(
    ("state", "status"), [("SERVING", 0), ("NOT_SERVING", 1), ("UNKNOWN", 1), ("SERVICE_UNKNOWN", 1)]
)
def test_the_exit_status_is_0_only_when_serving(
    steersman: Steersman, health: HealthServicer, state: str, status: int
) -> None:
    health.set("gate", HealthCheckResponse.ServingStatus.Value(state))
    done = steersman("health", "--policy", "gate")
    assert (done.status, done.out, done.err) == (status, f"{state}\n", "")


def test_without_a_policy_it_is_the_server_that_is_asked(
    steersman: Steersman, health: HealthServicer
) -> None:
    assert steersman("health").out == "SERVING\n"
    health.enter_graceful_shutdown()
    done = steersman("health")
    assert (done.status, done.out) == (1, "NOT_SERVING\n")


def test_an_unknown_policy(steersman: Steersman, target: str) -> None:
    done = steersman("health", "--policy", "gat")
    assert done.status == 1
    assert done.err.startswith(f"steersman: {target}: policy 'gat' is unknown there.")


def test_no_server(steersman: Steersman) -> None:
    done = steersman("health", "--target", "127.0.0.1:1")
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("steersman: 127.0.0.1:1: no server answers.")
    assert done.err.count("\n") == 1


def test_a_server_without_health(steersman: Steersman) -> None:
    with toy_server(Toy()) as address:
        done = steersman("health", "--target", address)
    assert (done.status, done.err) == (
        1,
        f"steersman: {address}: the server there does not tell its health\n",
    )
