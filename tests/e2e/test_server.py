"""A real server, as operators meet it: starting, dying workers, ending, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from steersman.serving.testing import RunningServer, running_server
from steersman.v1 import policy_pb2 as pb
from steersman.v1 import policy_pb2_grpc as rpc
from support.scrape import scrape, value, wait_until
from support.toy_bundle import publish_toy

NAN = float("nan")


def act(address: str, rows: list[list[float]], policy: str = "toy") -> pb.ActResponse:
    """One call on a connection of its own, so that the kernel picks the worker."""
    data = np.asarray(rows, np.float32)
    tensor = pb.Tensor(dtype=pb.DTYPE_FLOAT32, shape=data.shape, data=data.tobytes())
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(address, options) as channel:
        return rpc.PolicyServiceStub(channel).Act(
            pb.ActRequest(policy=policy, observation=tensor), timeout=10, wait_for_ready=True
        )


def serve(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs `steersman serve`, which must end by itself."""
    command = [sys.executable, "-P", "-m", "steersman.cli", "serve", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment}, check=False
    )


def one_line(finished: subprocess.CompletedProcess[str]) -> str:
    """The last line of what it said, which must be one for people, without a traceback."""
    assert "Traceback" not in finished.stderr
    line = finished.stderr.strip().splitlines()[-1]
    assert line.startswith("steersman: ")
    return line


def test_two_workers_count_as_one(server: RunningServer) -> None:
    before = scrape(server.http)
    for _ in range(12):
        act(server.grpc, [[1, 3, 2, 0], [NAN, 0, 0, 0]])
    after = scrape(server.http)
    gained = {
        source: value(after, "steersman_decisions_total", policy="toy", source=source)
        - value(before, "steersman_decisions_total", policy="toy", source=source)
        for source in ("policy", "fallback", "none")
    }
    assert gained == {"policy": 12, "fallback": 12, "none": 0}
    calls = "steersman_calls_total"
    assert value(after, calls, method="Act", code="ok") - value(before, calls, method="Act", code="ok") == 12


def test_a_killed_worker_comes_back_and_counters_never_fall(server: RunningServer) -> None:
    act(server.grpc, [[1, 3, 2, 0]])
    before = scrape(server.http)
    victim = _workers(server.process.pid)[0]
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: victim not in _workers(server.process.pid), "the worker's end")
    wait_until(lambda: _ready(server.http), "a new worker")
    after = scrape(server.http)
    fallen = [
        key for key, number in before.items() if key[0].endswith(("_total", "_count")) and after[key] < number
    ]
    assert fallen == []
    starts = value(after, "steersman_worker_starts_total") - value(before, "steersman_worker_starts_total")
    assert starts == 1
    assert act(server.grpc, [[1, 3, 2, 0]]).sources[0] == pb.SOURCE_POLICY


def test_a_stopped_worker_is_ended_and_replaced(repository: Path) -> None:
    with running_server(repository, arguments=["--hang-timeout", "2"]) as running:
        hanging = _workers(running.process.pid)[0]
        os.kill(hanging, signal.SIGSTOP)
        wait_until(lambda: hanging not in _workers(running.process.pid), "the hanging worker's end")
        wait_until(
            lambda: bool(_workers(running.process.pid)), "another worker's start"
        )  # ready is of it then
        wait_until(lambda: _ready(running.http), "a new worker")
        assert act(running.grpc, [[1, 3, 2, 0]]).sources[0] == pb.SOURCE_POLICY


def test_workers_end_with_their_supervisor(repository: Path) -> None:
    with running_server(repository, workers=2) as running:
        workers = _workers(running.process.pid)
        running.process.kill()
        running.process.wait()
        wait_until(lambda: not any(_runs(pid) for pid in workers), "the workers' end")


def test_sigterm_ends_with_status_0_and_says_not_serving_first(repository: Path) -> None:
    with running_server(repository, arguments=["--lame-duck", "4"]) as running:
        with grpc.insecure_channel(running.grpc) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="toy"))
            assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
            running.process.send_signal(signal.SIGTERM)
            assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert act(running.grpc, [[1, 3, 2, 0]]).sources[0] == pb.SOURCE_POLICY
        assert running.process.wait(20) == 0


def test_a_broken_policy_does_not_keep_another_from_being_served(tmp_path: Path) -> None:
    publish_toy(tmp_path, "good")
    broken = publish_toy(tmp_path, "broken")
    _change_one_byte(broken.path / "policy.onnx")
    with running_server(tmp_path) as running, grpc.insecure_channel(running.grpc) as channel:
        assert act(running.grpc, [[1, 3, 2, 0]], "good").sources[0] == pb.SOURCE_POLICY
        listed = rpc.PolicyServiceStub(channel).ListPolicies(pb.ListPoliciesRequest(prefix="broken"))
        (version,) = listed.policies[0].versions
        assert version.state == pb.VERSION_STATE_FAILED
        assert "content was changed" in version.detail
        assert str(tmp_path) not in version.detail
        health = health_pb2_grpc.HealthStub(channel)
        status = health.Check(health_pb2.HealthCheckRequest(service="broken")).status
        assert status == health_pb2.HealthCheckResponse.NOT_SERVING


def test_a_version_that_is_still_being_copied_is_not_a_version(tmp_path: Path) -> None:
    publish_toy(tmp_path, "toy")
    (tmp_path / "toy" / "2").mkdir()
    with running_server(tmp_path) as running:
        assert act(running.grpc, [[1, 3, 2, 0]]).versions == [1]


def test_sigterm_while_starting_ends_it(repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "steersman.cli", "serve", "--repository", str(repository)]
    with subprocess.Popen([*command, *_ports(), *_state(tmp_path)], stderr=subprocess.DEVNULL) as process:
        wait_until(lambda: bool(_workers(process.pid)), "a worker's start")
        for worker in _workers(process.pid):
            os.kill(worker, signal.SIGSTOP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_http_listens_on_ipv6(repository: Path) -> None:
    with running_server(repository, arguments=["--http-host", "::1"]) as running:
        assert running.http.startswith("http://[::1]:")
        assert _ready(running.http)


@pytest.mark.parametrize("file", ["policy.onnx", "manifest.json", "reference.npz", "certificate.npz"])
def test_a_bundle_with_one_changed_byte_is_refused(tmp_path: Path, file: str) -> None:
    bundle = publish_toy(tmp_path / "repository")
    _change_one_byte(bundle.path / file)
    finished = serve("--repository", str(tmp_path / "repository"), *_ports(), *_state(tmp_path))
    assert finished.returncode == 1
    assert file in one_line(finished)


def test_a_port_in_use_is_named(repository: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for option in ("--port", "--http-port", "--control-port"):
            ports = {"--port": "0", "--http-port": "0", "--control-port": "0", option: port}
            flags = [word for pair in ports.items() for word in pair]
            finished = serve("--repository", str(repository), *flags, *_state(tmp_path))
            assert finished.returncode == 1
            assert re.search(rf"127\.0\.0\.1:{port}: .*in use.*{option}", one_line(finished))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--repository", "/nowhere"], "no such folder"),
        (["--repository", "{empty}"], "there are no bundles"),
        (["--repository", "{repository}", "--policy", "toi"], "no policy 'toi'"),
        (["--repository", "{repository}", "--deployment", "/nowhere.yaml"], "No such file"),
        (["--repository", "{repository}", "--deployment", "{typo}"], "unknown field"),
        (["--repository", "{repository}", "--deployment", "{unknown_feature}"], "lefft"),
        (["--repository", "{repository}", "--workers", "0"], "workers"),
        (["--repository", "{repository}", "--config", "{setting}"], "wrokers"),
        (["--repository", "{repository}", "--deployment", "{binary}"], "not UTF-8"),
        (["--repository", "{repository}", "--deployment", "{version}"], "no version 7"),
        (["--repository", "{repository}", "--ready-file", "/nowhere/ready"], "--ready-file"),
        (["--repository", "{repository}", "--hang-timeout", "0.1"], "hang_timeout_s"),
        ([], "repository"),
    ],
)
def test_what_is_used_wrongly_is_said_in_a_line(
    repository: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    files = {
        "typo": "policy: toy\nsaftey: {}\n",
        "unknown_feature": "policy: toy\nsafety: {fallback: [{rules: [{when: lefft > 1.0, then: 1}]}]}\n",
        "setting": "wrokers: 2\n",
        "version": "policy: toy\nlanes: {stable: {version: 7}}\n",
    }
    places = {"repository": repository, "empty": tmp_path / "empty"}
    places["empty"].mkdir()
    for name, text in files.items():
        places[name] = tmp_path / f"{name}.yaml"
        places[name].write_text(text)
    places["binary"] = tmp_path / "binary.yaml"
    places["binary"].write_bytes(b"\xff\xfe\x00")
    given = [argument.format(**places) for argument in arguments]
    finished = serve(*given, *_ports(), *_state(tmp_path))
    assert said in one_line(finished)
    assert finished.returncode == 2


def test_settings_come_from_file_then_environment_then_flags(repository: Path, tmp_path: Path) -> None:
    config = tmp_path / "steersman.yaml"
    config.write_text(f"repository: {repository}\nlog_level: file\ngrace_s: file\nport: file\n")
    variables = {"STEERSMAN_GRACE_S": "variable", "STEERSMAN_PORT": "7"}
    finished = serve("--config", str(config), "--log-level", "flag", *_ports(), **variables)
    line = one_line(finished)
    assert finished.returncode == 2
    assert "variable" in line or "flag" in line
    assert "file" not in line.partition(":")[2].replace(str(config), "")


def test_an_unknown_variable_is_refused(repository: Path, tmp_path: Path) -> None:
    finished = serve("--repository", str(repository), *_ports(), *_state(tmp_path), STEERSMAN_WORKER="2")
    assert "STEERSMAN_WORKERS" in one_line(finished)
    assert finished.returncode == 2


def test_a_state_folder_that_cannot_be_used_is_one_line(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "state" / "keyring.json").mkdir(parents=True)
    finished = serve("--repository", str(repository), *_ports(), *_state(tmp_path))
    assert "keyring.json" in one_line(finished)
    assert finished.returncode == 1


def test_a_worker_imports_nothing_that_it_does_not_need() -> None:
    code = "import json, sys, steersman.serving.worker; print(json.dumps(sorted(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = {name.partition(".")[0] for name in json.loads(printed)}
    forbidden = {"torch", "onnx", "stable_baselines3", "sb3_contrib", "gymnasium"}
    forbidden |= {"sqlalchemy", "typer", "rich", "pydantic_settings", "matplotlib", "pandas"}
    assert loaded & forbidden == set()


def test_the_supervisor_imports_no_torch() -> None:
    code = (
        "import json, sys, steersman.serving.supervising.supervisor; print(json.dumps(sorted(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = {name.partition(".")[0] for name in json.loads(printed)}
    assert loaded & {"torch", "onnx", "stable_baselines3", "sb3_contrib", "gymnasium"} == set()


def _ports() -> list[str]:
    return ["--port", "0", "--http-port", "0", "--control-port", "0"]


def _state(folder: Path) -> list[str]:
    return ["--state-dir", str(folder / "state")]


def _change_one_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _workers(supervisor: int) -> list[int]:
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return [int(pid) for pid in children]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _ready(url: str) -> bool:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except urllib.error.HTTPError:
        return False
