"""The control service over a real connection: changes, their checks, and what is told when one fails."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from steersman.serving.security.access import AccessList, Caller, Role, new_token, token_hash
from steersman.v1 import control_pb2 as pb
from support.control_kit import ControlKit
from support.toy_bundle import publish_toy

CANARY = "{policy: toy, lanes: {stable: {version: 1}, canary: {version: 2, share: 0.1}}}"
STABLE = "{policy: toy, lanes: {stable: {version: 1}}}"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three versions of `toy`."""
    root = tmp_path_factory.mktemp("published")
    for _ in range(3):
        publish_toy(root)
    return root


@pytest.fixture
def bundles(published: Path, tmp_path: Path) -> Path:
    shutil.copytree(published, tmp_path / "bundles")
    return tmp_path / "bundles"


@pytest.fixture
async def kit(bundles: Path, tmp_path: Path) -> ControlKit:
    made = ControlKit(bundles, tmp_path)
    await made.begin()
    return made


@pytest.fixture
async def stub(kit: ControlKit) -> AsyncIterator[Any]:
    async with kit.serving() as client:
        yield client


def change(**fields: Any) -> pb.Change:
    return pb.Change(actor="ann", reason="because", **fields)


def apply(document: str, **fields: Any) -> pb.ApplyDeploymentRequest:
    return pb.ApplyDeploymentRequest(document=document, change=change(**fields))


async def failure(call: Any) -> tuple[grpc.StatusCode, str, str]:
    """Status, reason and message of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    metadata = dict(failed.value.trailing_metadata())
    return failed.value.code(), str(metadata["steersman-reason"]), failed.value.details() or ""


async def test_a_canary_from_applied_to_promoted(kit: ControlKit, stub: Any) -> None:
    applied = await stub.ApplyDeployment(apply(CANARY))
    assert list(applied.changes) == [
        "stable: version latest -> 1",
        "canary: opened, version 2 at 10 %",
        "rollout: epoch 1 begins",
    ]
    status = applied.deployment
    assert (status.revision, status.rollout_id, status.epoch) == (1, "r1", 1)
    assert (status.workers_current, status.workers) == (2, 2)
    lanes = {(lane.lane, lane.version): lane for lane in status.lanes}
    assert lanes["canary", 2].share == pytest.approx(0.1)
    assert (lanes["canary", 2].workers_ready, lanes["stable", 3].draining) == (2, True)
    moved = await stub.SetShare(pb.SetShareRequest(policy="toy", lane="canary", share=0.5, change=change()))
    assert list(moved.changes) == ["canary: share 10 % -> 50 %"]
    assert moved.deployment.rollout_id == "r1"
    promoted = await stub.Promote(pb.PromoteRequest(policy="toy", change=change()))
    assert json.loads(promoted.deployment.document) == {"policy": "toy", "lanes": {"stable": {"version": 2}}}
    history = await stub.GetHistory(pb.GetHistoryRequest(policy="toy"))
    assert [(e.action, e.revision, e.actor, e.reason) for e in history.entries] == [
        ("promote", 3, "ann", "because"),
        ("set_share", 2, "ann", "because"),
        ("apply", 1, "ann", "because"),
    ]
    assert history.entries[0].at_unix_nanos == int(kit.now.timestamp()) * 10**9


async def test_a_rollback_cuts_unless_told_otherwise(kit: ControlKit, stub: Any) -> None:
    for keep, draining in ((True, [("canary", 2, "draining")]), (False, [])):
        await stub.ApplyDeployment(apply(STABLE))
        kit.now += timedelta(seconds=61)
        await kit.director.review()
        await stub.ApplyDeployment(apply(CANARY))
        await stub.Rollback(pb.RollbackRequest(policy="toy", keep_episodes=keep, change=change()))
        assert kit.lanes() == [("stable", 1, "open"), *draining]


async def test_a_rollback_without_a_rollout_goes_back(kit: ControlKit, stub: Any) -> None:
    for document in (CANARY, "{policy: toy, lanes: {stable: {version: 2}}}"):
        await stub.ApplyDeployment(apply(document))
    back = await stub.Rollback(pb.RollbackRequest(policy="toy", change=change()))
    assert json.loads(back.deployment.document)["lanes"] == {"stable": {"version": 1}}
    whole = await stub.Rollback(pb.RollbackRequest(policy="toy", revision=1, change=change()))
    assert (whole.deployment.revision, whole.deployment.epoch) == (4, 2)
    assert kit.lanes()[1] == ("canary", 2, "open")


async def test_a_rollback_asked_for_twice_does_not_bring_back_what_was_fled_from(
    kit: ControlKit, stub: Any
) -> None:
    for document in (STABLE, CANARY):
        await stub.ApplyDeployment(apply(document))
    await stub.Promote(pb.PromoteRequest(policy="toy", change=change()))
    request = pb.RollbackRequest(policy="toy", change=change())
    assert not (await stub.Rollback(request)).unchanged
    again = await stub.Rollback(request)
    assert again.unchanged
    assert not again.changes
    assert kit.lanes() == [("stable", 1, "open"), ("stable", 3, "draining")]


async def test_a_document_that_is_no_data_is_refused(stub: Any) -> None:
    for document in ("policy: 2024-13-45", "policy: !!timestamp x", "policy: 0x" + "f" * 5000):
        assert (await failure(stub.ApplyDeployment(apply(document))))[0] == grpc.StatusCode.INVALID_ARGUMENT


async def test_history_has_documents_for_who_asks(stub: Any) -> None:
    await stub.ApplyDeployment(apply(CANARY))
    (brief,) = (await stub.GetHistory(pb.GetHistoryRequest())).entries
    assert (brief.document, brief.rollout_id, brief.epoch) == ("", "r1", 1)
    (whole,) = (await stub.GetHistory(pb.GetHistoryRequest(with_documents=True))).entries
    assert json.loads(whole.document)["policy"] == "toy"


async def test_a_dry_run_tells_and_changes_nothing(kit: ControlKit, stub: Any) -> None:
    before = kit.director.plan
    answer = await stub.ApplyDeployment(apply(CANARY, dry_run=True))
    assert (answer.unchanged, answer.dry_run) == (True, True)
    assert len(answer.changes) == 3
    assert [lane.role for lane in answer.deployment.lanes][:2] == ["open", "open"]
    assert [(lane.lane, lane.workers_ready) for lane in answer.deployment.lanes][:2] == [
        ("stable", 0),
        ("canary", 0),
    ]
    assert kit.director.plan is before
    assert not (await stub.GetHistory(pb.GetHistoryRequest())).entries


async def test_the_same_again_is_no_revision(stub: Any) -> None:
    await stub.ApplyDeployment(apply(CANARY))
    again = await stub.ApplyDeployment(apply(CANARY))
    assert not again.dry_run
    assert (again.unchanged, list(again.changes), again.deployment.revision) == (True, [], 1)


async def test_of_two_that_saw_the_same_revision_one_is_aborted(stub: Any) -> None:
    await stub.ApplyDeployment(apply(CANARY))
    request = pb.SetShareRequest(policy="toy", lane="canary", share=0.2, change=change(expected_revision=1))
    await stub.SetShare(request)
    request.share = 0.3
    code, reason, message = await failure(stub.SetShare(request))
    assert (code, reason) == (grpc.StatusCode.ABORTED, "revision_conflict")
    assert "revision 2" in message


async def test_another_host_s_change_is_seen_and_never_written_over(
    kit: ControlKit, stub: Any, bundles: Path, tmp_path: Path
) -> None:
    other = ControlKit(bundles, tmp_path)
    await other.begin()
    async with other.serving() as theirs:
        await theirs.ApplyDeployment(apply(CANARY))
    moved = await stub.SetShare(pb.SetShareRequest(policy="toy", lane="canary", share=0.2, change=change()))
    assert moved.deployment.revision == 2
    await other.follower.tick()
    assert other.director.states["toy"].revision == 2
    assert other.director.plan.of("toy")[1].route.share == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("document", "code", "reason", "said"),
    [
        (
            "{policy: toy, lanes: {canary: {version: 7, share: 0.1}}}",
            "FAILED_PRECONDITION",
            "version_not_found",
            "no version 7",
        ),
        ("{policy: tow}", "NOT_FOUND", "policy_not_found", "toy"),
        ("{policy: ../toy}", "INVALID_ARGUMENT", "deployment_invalid", "policy"),
        ("{policy: toy, lnaes: {}}", "INVALID_ARGUMENT", "deployment_invalid", "Did you mean lanes"),
        ("[", "INVALID_ARGUMENT", "deployment_invalid", "not YAML"),
        ("", "INVALID_ARGUMENT", "document_size", "0 bytes"),
        ("#" * 70_000, "INVALID_ARGUMENT", "document_size", "70000 bytes"),
        (
            "{policy: toy, lanes: {canary: {version: 2, share: .nan}}}",
            "INVALID_ARGUMENT",
            "deployment_invalid",
            "share",
        ),
    ],
)
async def test_a_document_that_cannot_be_meant_is_refused(
    kit: ControlKit, stub: Any, document: str, code: str, reason: str, said: str
) -> None:
    before = kit.director.plan
    found = await failure(stub.ApplyDeployment(apply(document)))
    assert (found[0].name, found[1]) == (code, reason)
    assert said in found[2]
    assert kit.director.plan is before


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"actor": "a" * 129}, "actor_too_long"),
        ({"actor": "ann", "reason": "ä" * 513}, "reason_too_long"),
        ({"actor": "ann\nbob"}, "actor_not_text"),
        ({"expected_revision": -1}, "expected_revision"),
    ],
)
async def test_who_and_why_are_lines_of_bounded_length(
    stub: Any, fields: dict[str, Any], reason: str
) -> None:
    request = pb.PromoteRequest(policy="toy", change=pb.Change(**fields))
    assert (await failure(stub.Promote(request)))[:2] == (grpc.StatusCode.INVALID_ARGUMENT, reason)


@pytest.mark.parametrize(
    ("method", "request_", "reason"),
    [
        ("SetShare", pb.SetShareRequest(policy="toy", lane="canary", share=0.2), "lane_not_found"),
        ("SetShare", pb.SetShareRequest(policy="toy", lane="canary", share=float("nan")), "share"),
        ("SetShare", pb.SetShareRequest(policy="toy", lane="stable", share=0.2), "stable_has_no_share"),
        ("Promote", pb.PromoteRequest(policy="toy"), "nothing_to_promote"),
        ("Rollback", pb.RollbackRequest(policy="toy"), "revision_not_found"),
        ("Rollback", pb.RollbackRequest(policy="toy", revision=3), "revision_not_found"),
        ("ListDeployments", pb.ListDeploymentsRequest(policy="tow"), "policy_not_found"),
        ("GetHistory", pb.GetHistoryRequest(before_id=-1), "before_id"),
    ],
)
async def test_what_cannot_be_done_is_refused(stub: Any, method: str, request_: Any, reason: str) -> None:
    assert (await failure(getattr(stub, method)(request_)))[1] == reason


async def test_a_damaged_version_is_refused_without_a_path(stub: Any, bundles: Path) -> None:
    with (bundles / "toy" / "2" / "policy.onnx").open("ab") as file:
        file.write(b"x")
    code, reason, message = await failure(stub.ApplyDeployment(apply(CANARY)))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "version_refused_content")
    assert "/" not in message


async def test_what_workers_refuse_gives_way_and_is_told(kit: ControlKit, stub: Any) -> None:
    await stub.ApplyDeployment(apply(CANARY))
    await kit.director.review()
    kit.fleet.refused = {3: "the certificate fails on this host"}
    await stub.ApplyDeployment(apply("{policy: toy, lanes: {stable: {version: 3}}}"))
    assert await kit.director.review()
    assert kit.lanes() == [("stable", 1, "open"), ("canary", 2, "draining")]
    (status,) = (await stub.ListDeployments(pb.ListDeploymentsRequest())).deployments
    assert status.revision == 2
    assert list(status.problems) == ["stable: version 3: the certificate fails on this host"]
    kit.fleet.refused = {}
    refreshed = await stub.RefreshRepository(pb.RefreshRepositoryRequest())
    assert "toy: stable: version 1 -> 3" in refreshed.changes
    assert kit.lanes()[0] == ("stable", 3, "open")


async def test_a_new_version_shows_when_the_repository_is_read(
    kit: ControlKit, stub: Any, bundles: Path
) -> None:
    publish_toy(bundles)
    assert not await kit.director.review()
    answer = await stub.RefreshRepository(pb.RefreshRepositoryRequest())
    assert list(answer.changes) == ["toy: draining: version none -> 3", "toy: stable: version 3 -> 4"]
    again = await stub.RefreshRepository(pb.RefreshRepositoryRequest())
    assert (again.generation, list(again.changes)) == (answer.generation, [])


async def test_a_worker_that_does_not_follow_shows(kit: ControlKit, stub: Any) -> None:
    kit.fleet.slow = 1
    answer = await stub.ApplyDeployment(apply(CANARY))
    assert (answer.deployment.workers_current, answer.deployment.workers) == (1, 2)


async def test_without_the_store_nothing_changes_and_serving_goes_on(bundles: Path, tmp_path: Path) -> None:
    kit = ControlKit(bundles, tmp_path, store="sqlite:////nowhere/at/all/store.db")
    await kit.begin()
    async with kit.serving() as stub:
        code, reason, message = await failure(stub.ApplyDeployment(apply(CANARY)))
        assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "store_unavailable")
        assert "nowhere" not in message
        assert (await failure(stub.GetHistory(pb.GetHistoryRequest())))[1] == "store_unavailable"
        assert len((await stub.ListDeployments(pb.ListDeploymentsRequest())).deployments) == 1
        await kit.follower.tick()
    assert kit.lanes() == [("stable", 3, "open")]


async def test_the_actor_is_who_the_token_says(kit: ControlKit) -> None:
    tokens = {role: new_token() for role in Role}
    callers = tuple(
        Caller(name=f"team {role}", role=role, sha256=token_hash(token)) for role, token in tokens.items()
    )
    async with kit.serving(AccessList(callers=callers)) as stub:

        def call(method: str, request: Any, role: Role) -> Any:
            return getattr(stub, method)(request, metadata=[("authorization", f"Bearer {tokens[role]}")])

        await call("ApplyDeployment", apply(CANARY), Role.OPERATE)
        history = await call("GetHistory", pb.GetHistoryRequest(), Role.ADMIN)
        assert [entry.actor for entry in history.entries] == ["team operate"]
        assert (await failure(stub.ListDeployments(pb.ListDeploymentsRequest())))[1] == "unauthenticated"
        request = pb.RefreshRepositoryRequest()
        assert (await failure(call("RefreshRepository", request, Role.OPERATE)))[1] == "permission_denied"
        await call("RefreshRepository", request, Role.ADMIN)


async def test_a_draining_lane_ends_in_time(kit: ControlKit, stub: Any) -> None:
    await stub.ApplyDeployment(apply(STABLE))
    assert kit.lanes() == [("stable", 1, "open"), ("stable", 3, "draining")]
    assert not await kit.director.review()
    kit.now += timedelta(seconds=60)
    assert await kit.director.review()
    assert kit.lanes() == [("stable", 1, "open")]
    assert kit.kept == [1, 2, 3]
