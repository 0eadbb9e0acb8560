"""`steersman deploy`: what it asks of the control service, and how it prints the answers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import jsonschema
import pytest
import yaml

from steersman.serving.rollout import deployment as documented
from steersman.serving.rollout.deployment import Deployment, deployment_schema
from steersman.v1 import control_pb2 as pb
from steersman.v1 import control_pb2_grpc as rpc
from unit.cli.conftest import Steersman

STATUS = pb.DeploymentStatus(
    policy="toy",
    revision=3,
    document='{"policy": "toy", "labels": {"champion": 1}, "safety": {"guard": {"bounds": "off"}}}',
    lanes=[
        pb.LaneStatus(lane="stable", version=1, share=0.75, workers_ready=2, labels=["champion", "old"]),
        pb.LaneStatus(lane="canary", version=2, share=0.25, workers_ready=1),
        pb.LaneStatus(lane="stable", version=9, draining=True, workers_ready=2),
    ],
    rollout_id="r1",
    epoch=2,
    generation=7,
    workers_current=1,
    workers=2,
    problems=["canary: version 4: [content] was changed"],
)

PAGE = 3
"""Entries of one answer at most."""


@dataclass
class Control(rpc.ControlServiceServicer):
    """Keeps what it was asked, answers always the same, and fails on demand."""

    asked: list[tuple[str, Any, dict[str, str]]] = field(default_factory=list)
    failure: tuple[grpc.StatusCode, str, str] | None = None
    entries: int = 1
    policies: tuple[str, ...] = ("toy",)

    def _take(self, method: str, request: Any, context: Any) -> None:
        self.asked.append((method, request, dict(context.invocation_metadata())))
        if self.failure is not None:
            code, reason, details = self.failure
            context.set_trailing_metadata((("steersman-reason", reason),) if reason else ())
            context.abort(code, details)

    def _changed(self, method: str, request: Any, context: Any) -> pb.DeploymentChange:
        self._take(method, request, context)
        return pb.DeploymentChange(
            deployment=STATUS, changes=["canary: share 5 % -> 25 %"], unchanged=request.change.dry_run
        )

    def ApplyDeployment(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._changed("ApplyDeployment", request, context)

    def SetShare(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._changed("SetShare", request, context)

    def Promote(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._changed("Promote", request, context)

    def Rollback(self, request: Any, context: Any) -> Any:  # noqa: N802
        return self._changed("Rollback", request, context)

    def ListDeployments(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._take("ListDeployments", request, context)
        statuses = [pb.DeploymentStatus() for _ in self.policies]
        for status, policy in zip(statuses, self.policies, strict=True):
            status.CopyFrom(STATUS)
            status.policy = policy
        return pb.ListDeploymentsResponse(deployments=statuses)

    def GetHistory(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._take("GetHistory", request, context)
        newest = min(request.before_id - 1, self.entries) if request.before_id else self.entries
        page = range(newest, max(0, newest - min(request.limit, PAGE)), -1)
        entries = [
            pb.HistoryEntry(
                id=number,
                policy="toy",
                revision=3,
                at_unix_nanos=1_767_225_600 * 10**9,
                actor="ann",
                action="set_share",
                reason="no harm",
                changes=["canary: share 5 % -> 25 %"],
            )
            for number in page
        ]
        following = page[-1] if page and page[-1] > 1 else 0
        return pb.GetHistoryResponse(entries=entries, next_before_id=following)

    def RefreshRepository(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._take("RefreshRepository", request, context)
        return pb.RefreshRepositoryResponse(generation=7)


@pytest.fixture
def control(monkeypatch: pytest.MonkeyPatch) -> Iterator[Control]:
    servicer = Control()
    server = grpc.server(futures.ThreadPoolExecutor(2))
    rpc.add_ControlServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("STEERSMAN_CONTROL", f"127.0.0.1:{port}")
    yield servicer
    server.stop(0).wait()


def test_apply_sends_the_file_and_who_and_why(steersman: Steersman, control: Control, tmp_path: Path) -> None:
    file = tmp_path / "toy.yaml"
    file.write_text("policy: toy # as it is\n")
    done = steersman("deploy", "apply", str(file), "--reason", "why", "--actor", "ann", "--dry-run")
    assert done.status == 0
    ((method, request, _),) = control.asked
    assert (method, request.document) == ("ApplyDeployment", "policy: toy # as it is\n")
    assert request.change == pb.Change(actor="ann", reason="why", dry_run=True)
    assert "would change toy: canary: share 5 % -> 25 %" in done.out
    assert "toy: would be revision 3, rollout epoch 2" in done.out
    lines = [line.split() for line in done.out.splitlines()]
    assert ["canary", "2", "25", "%", "-", "would", "serve", "-"] in lines
    assert ["stable", "9", "-", "-", "would", "drain", "-"] in lines
    assert done.out.endswith("dry run: nothing was changed; the same without --dry-run does it\n")


def test_a_change_shows_the_lanes_and_what_ails_them(steersman: Steersman, control: Control) -> None:
    done = steersman("deploy", "set-share", "toy", "canary", "0.25", "--expect-revision", "2")
    lines = [line.split() for line in done.out.splitlines()]
    assert ["canary", "2", "25", "%", "1/2", "loading", "-"] in lines
    assert ["stable", "9", "-", "2/2", "draining", "-"] in lines
    assert "problem: canary: version 4: [content] was changed" in done.err
    assert "1 of 2 workers still load it" in done.err
    ((_, request, _),) = control.asked
    assert (request.policy, request.lane, request.share) == ("toy", "canary", 0.25)
    assert request.change.expected_revision == 2
    assert request.change.actor


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        (["promote", "toy"], pb.PromoteRequest(policy="toy", lane="canary")),
        (["promote", "toy", "b"], pb.PromoteRequest(policy="toy", lane="b")),
        (["rollback", "toy"], pb.RollbackRequest(policy="toy")),
        (
            ["rollback", "toy", "--revision", "2", "--keep-episodes"],
            pb.RollbackRequest(policy="toy", revision=2, keep_episodes=True),
        ),
    ],
)
def test_the_other_changes(steersman: Steersman, control: Control, words: list[str], request_: Any) -> None:
    assert steersman("deploy", *words, "--actor", "ann").status == 0
    request_.change.actor = "ann"
    assert control.asked[0][1] == request_


def test_show_and_history_as_tables_and_json(steersman: Steersman, control: Control) -> None:
    shown = steersman("deploy", "show")
    assert "toy: revision 3, rollout epoch 2" in shown.out
    (status,) = steersman("deploy", "show", "toy", "--json").json["deployments"]
    assert (status["revision"], status["lanes"][1]["share"]) == (3, 0.25)
    assert status["lanes"][0]["labels"] == ["champion", "old"]
    assert ["stable", "1", "75", "%", "2/2", "ready", "champion,", "old"] in [
        line.split() for line in shown.out.splitlines()
    ]
    history = steersman("deploy", "history", "--limit", "5")
    assert ["1", "toy", "3", "2026-01-01T00:00:00Z", "ann", "set_share"] in [
        line.split()[:6] for line in history.out.splitlines()
    ]
    assert not control.asked[-1][1].with_documents
    (entry,) = steersman("deploy", "history", "toy", "--json").json["entries"]
    assert (entry["reason"], entry["at_unix_nanos"]) == ("no harm", 1_767_225_600 * 10**9)
    assert control.asked[-1][1].with_documents
    assert [asked[1].policy for asked in control.asked] == ["", "toy", "", "toy"]


@pytest.mark.parametrize(
    ("words", "ids", "more"),
    [
        (["--limit", "7"], [8, 7, 6, 5, 4, 3, 2], 2),
        (["--limit", "8"], [8, 7, 6, 5, 4, 3, 2, 1], 0),
        ([], [8, 7, 6, 5, 4, 3, 2, 1], 0),
        (["--limit", "2", "--before", "5"], [4, 3], 3),
        (["--before", "1"], [], 0),
    ],
)
def test_history_reads_as_many_pages_as_it_takes(
    steersman: Steersman, control: Control, words: list[str], ids: list[int], more: int
) -> None:
    control.entries = 8
    found = steersman("deploy", "history", *words, "--json").json
    assert ([entry["id"] for entry in found["entries"]], found["next_before_id"]) == (ids, more)
    table = steersman("deploy", "history", *words)
    assert (f"--before {more}" in table.err) == bool(more)


def test_show_prints_yaml_with_what_a_person_said(steersman: Steersman, control: Control) -> None:
    done = steersman("deploy", "show", "toy", "--yaml")
    assert done.out.splitlines() == [
        "# the deployment of toy in force: revision 3",
        "policy: toy",
        "labels:",
        "  champion: 1",
        "safety:",
        "  guard:",
        "    bounds: 'off'",
    ]


@pytest.mark.parametrize("there", [(), ("toy", "other")])
def test_yaml_is_of_one_policy(steersman: Steersman, control: Control, there: tuple[str, ...]) -> None:
    control.policies = there
    done = steersman("deploy", "show", "--yaml")
    assert (done.status, done.out) == (2, "")
    assert f"expected the name of a policy: {', '.join(there) or 'none'}" in done.err


@pytest.mark.parametrize("option", ["--server", "--target"])
def test_the_server_is_named_alike_in_every_command(
    steersman: Steersman, control: Control, target: str, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    address = os.environ["STEERSMAN_CONTROL"]
    monkeypatch.setenv("STEERSMAN_CONTROL", "127.0.0.1:1")
    monkeypatch.setenv("STEERSMAN_TARGET", "127.0.0.1:1")
    assert steersman("deploy", "show", option, address).status == 0
    assert steersman("policies", option, target).status == 0
    assert steersman("act", "gate", "-o", "[0, 0, 0, 0]", option, target).status == 0
    assert steersman("health", option, target).out == "SERVING\n"


@pytest.mark.parametrize("command", [["deploy", "show"], ["policies"], ["act"], ["health"]])
def test_only_one_of_the_names_is_shown(steersman: Steersman, command: list[str]) -> None:
    helped = steersman(*command, "--help").out
    assert "--server" in helped
    assert "--target" not in helped


def test_refresh_says_when_nothing_is_new(steersman: Steersman, control: Control) -> None:
    assert steersman("deploy", "refresh").out == "nothing is new; generation 7\n"


@pytest.mark.parametrize("given", ["file", "variable"])
def test_a_token_goes_with_every_call(
    steersman: Steersman, control: Control, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    (tmp_path / "token").write_text("stm_secret\n")
    if given == "variable":
        monkeypatch.setenv("STEERSMAN_TOKEN", "stm_secret")
    words = ["--token-file", str(tmp_path / "token")] if given == "file" else []
    assert steersman("deploy", "show", *words).status == 0
    assert control.asked[0][2]["authorization"] == "Bearer stm_secret"


@pytest.mark.parametrize(
    ("failure", "status", "said"),
    [
        ((grpc.StatusCode.ABORTED, "revision_conflict", "is at revision 4"), 1, "deploy show"),
        ((grpc.StatusCode.FAILED_PRECONDITION, "specs", "other specs"), 1, "other specs"),
        ((grpc.StatusCode.INVALID_ARGUMENT, "deployment_invalid", "unknown field"), 2, "unknown field"),
        ((grpc.StatusCode.NOT_FOUND, "policy_not_found", "no policy 'toy'"), 2, "deploy show"),
        ((grpc.StatusCode.UNAVAILABLE, "store_unavailable", "the store"), 1, "log"),
        ((grpc.StatusCode.UNAUTHENTICATED, "unauthenticated", "expected their token"), 1, "--token-file"),
        ((grpc.StatusCode.UNIMPLEMENTED, "", "Method not found"), 1, "port of its own"),
        ((grpc.StatusCode.FAILED_PRECONDITION, "safety_left_out", "no safety"), 1, "--yaml"),
        ((grpc.StatusCode.FAILED_PRECONDITION, "nothing_to_promote", "no canary"), 1, "deploy apply FILE"),
        ((grpc.StatusCode.NOT_FOUND, "lane_not_found", "no lane or arm"), 2, "deploy show"),
        ((grpc.StatusCode.NOT_FOUND, "revision_not_found", "no revision 9"), 2, "deploy history"),
    ],
)
def test_a_failure_is_one_line_with_what_to_do(
    steersman: Steersman, control: Control, failure: Any, status: int, said: str
) -> None:
    control.failure = failure
    done = steersman("deploy", "promote", "toy")
    assert (done.status, done.out, len(done.err.splitlines())) == (status, "", 1)
    assert failure[2] in done.err
    assert said in done.err


def test_no_server_is_one_line(steersman: Steersman) -> None:
    done = steersman("deploy", "show", "--server", "127.0.0.1:1")
    assert (done.status, "no control service answers" in done.err) == (1, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["apply", "nowhere.yaml"], "nowhere.yaml"),
        (["set-share", "toy", "canary", "1.5"], "share"),
        (["show", "--token-file", "/nowhere"], "--token-file"),
        (["show", "--ca", "/nowhere"], "--ca"),
    ],
)
def test_what_is_used_wrongly_is_status_2(
    steersman: Steersman, control: Control, words: list[str], said: str
) -> None:
    done = steersman("deploy", *words)
    assert (done.status, said in done.err, control.asked) == (2, True, [])


def test_the_schema_that_is_published_is_the_one_in_force(steersman: Steersman) -> None:
    root = Path(__file__).parents[3]
    published = json.loads((root / "docs" / "schemas" / "deployment.schema.json").read_text())
    assert steersman("deploy", "schema").json == published == deployment_schema()


def test_the_schema_takes_what_the_server_takes_and_refuses_typos() -> None:
    example = (documented.__doc__ or "").partition("```yaml")[2].partition("```")[0]
    document = yaml.safe_load(example)
    arms = document.pop("arms")
    for shown in (document, {"policy": "cartpole", "arms": arms}):
        jsonschema.validate(shown, deployment_schema())
        Deployment.model_validate(shown)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "lnaes": {}}, deployment_schema())
