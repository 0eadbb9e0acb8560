"""The control service over a real connection: what documents leave out, damaged bundles, pages of history."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from steersman.serving.control import answers
from steersman.v1 import control_pb2 as pb
from support.control_kit import ControlKit
from support.toy_bundle import publish_toy

SAFETY = "safety: {guard: {bounds: fallback}, fallback: [{name: still, constant: 1}, {preference: [0, 1]}]}"
SAFE = f"policy: toy\nlanes: {{stable: {{version: 1}}}}\n{SAFETY}\n"
BARE = "policy: toy\nlanes: {stable: {version: 2}}\n"


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


def apply(document: str, **fields: Any) -> pb.ApplyDeploymentRequest:
    return pb.ApplyDeploymentRequest(document=document, change=pb.Change(actor="ann", **fields))


async def failure(call: Any) -> tuple[grpc.StatusCode, str, str]:
    """Status, reason and message of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    metadata: Any = failed.value.trailing_metadata()
    return failed.value.code(), str(dict(metadata)["steersman-reason"]), failed.value.details() or ""


async def deployed(stub: Any) -> pb.DeploymentStatus:
    answer = await stub.ListDeployments(pb.ListDeploymentsRequest(policy="toy"))
    (status,) = answer.deployments
    assert isinstance(status, pb.DeploymentStatus)
    return status


@pytest.mark.parametrize("dry_run", [True, False])
async def test_safety_cannot_be_forgotten(stub: Any, dry_run: bool) -> None:
    await stub.ApplyDeployment(apply(SAFE))
    code, reason, message = await failure(stub.ApplyDeployment(apply(BARE, dry_run=dry_run)))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "safety_left_out")
    assert message == (
        "deployment of toy: the document has no safety section, which would remove the one in force: "
        "fallback chain of 2 members (still, preference), guard {bounds: fallback}; expected the section, "
        "as it is to be, or the line `safety: {}`, which removes it"
    )
    assert (await deployed(stub)).revision == 1


@pytest.mark.parametrize("dry_run", [True, False])
async def test_safety_can_be_removed_by_saying_so_and_the_answer_says_so(stub: Any, dry_run: bool) -> None:
    await stub.ApplyDeployment(apply(SAFE))
    answer = await stub.ApplyDeployment(apply(BARE + "safety: {}\n", dry_run=dry_run))
    assert list(answer.changes) == [
        "stable: version 1 -> 2",
        "safety: removed: fallback chain of 2 members (still, preference), guard {bounds: fallback}",
    ]
    assert (await deployed(stub)).revision == (1 if dry_run else 2)


async def test_a_word_without_anything_after_it_removes_nothing(stub: Any) -> None:
    await stub.ApplyDeployment(apply(SAFE))
    code, _, message = await failure(stub.ApplyDeployment(apply(BARE + "safety:\n")))
    assert (code, "safety: got None; expected a mapping" in message) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        True,
    )


async def test_what_has_no_safety_in_force_needs_none(stub: Any) -> None:
    await stub.ApplyDeployment(apply(BARE))
    await stub.ApplyDeployment(apply(BARE.replace("2", "1")))
    await stub.ApplyDeployment(apply(BARE + "safety: {guard: {}}"))
    assert not (await stub.ApplyDeployment(apply(BARE.replace("2", "3")))).unchanged


async def test_other_settings_are_removed_by_leaving_them_out_and_the_answer_says_so(stub: Any) -> None:
    await stub.ApplyDeployment(
        apply(SAFE + "labels: {champion: 2}\nbatching: {max_delay_ms: 9}\nserve: {specific: [3]}")
    )
    for dry_run in (True, False):
        answer = await stub.ApplyDeployment(apply(SAFE, dry_run=dry_run))
        assert list(answer.changes) == [
            "label champion: removed, was version 2",
            "serve: {specific: [3]} -> {latest: 0}",
            "batching: removed: max_delay_ms 9.0",
        ]


async def test_steps_that_people_take_keep_safety(stub: Any) -> None:
    canary = SAFE.replace("stable: {version: 1}", "stable: {version: 1}, canary: {version: 2, share: 0.1}")
    await stub.ApplyDeployment(apply(canary))
    await stub.SetShare(pb.SetShareRequest(policy="toy", lane="canary", share=0.2))
    await stub.Promote(pb.PromoteRequest(policy="toy"))
    document = json.loads((await deployed(stub)).document)
    assert [len(member) > 0 for member in document["safety"]["fallback"]] == [True, True]
    assert document["lanes"] == {"stable": {"version": 2}}


async def test_lanes_show_the_labels_that_they_answer_to(kit: ControlKit, stub: Any) -> None:
    document = BARE + "labels: {champion: 2, old: 1, best: 2}"

    def labels(status: pb.DeploymentStatus) -> list[tuple[str, int, list[str]]]:
        return [(lane.lane, lane.version, list(lane.labels)) for lane in status.lanes]

    expected = [("stable", 2, ["best", "champion"]), ("pinned", 1, ["old"])]
    dry = await stub.ApplyDeployment(apply(document, dry_run=True))
    assert labels(dry.deployment)[:2] == expected
    applied = await stub.ApplyDeployment(apply(document))
    assert labels(applied.deployment)[:2] == expected
    await kit.director.review()
    kit.fleet.refused = {3: "the certificate fails on this host"}
    await stub.ApplyDeployment(apply(document.replace("champion: 2", "champion: 3")))
    await kit.director.review()
    assert labels(await deployed(stub))[:2] == expected, "a label stays where it answered"


async def test_damage_is_told_by_file_version_and_remedy_but_without_a_path(stub: Any, bundles: Path) -> None:
    with (bundles / "toy" / "2" / "policy.onnx").open("ab") as file:
        file.write(b"x")
    (bundles / "toy" / "1" / "reference.npz").unlink()
    code, reason, message = await failure(stub.ApplyDeployment(apply(BARE)))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "version_refused_content")
    assert message.startswith("version 2: policy.onnx: content was changed: SHA-256 is ")
    remedy = "Copy the bundle of version 2 here again, or export the policy as a new version."
    assert message.endswith(remedy)
    message = (await failure(stub.ApplyDeployment(apply(SAFE))))[2]
    assert message.startswith("version 1: reference.npz: file of the bundle is missing. Copy the bundle")
    assert "/" not in message


async def test_damage_of_what_serves_is_among_the_problems(kit: ControlKit, stub: Any, bundles: Path) -> None:
    await stub.ApplyDeployment(apply(BARE))
    await kit.director.review()
    (bundles / "toy" / "2" / "manifest.json").write_text("{}")
    await stub.RefreshRepository(pb.RefreshRepositoryRequest())
    (problem,) = (await deployed(stub)).problems
    assert problem.startswith("stable: version 2: manifest.json: not a manifest of schema version")
    assert problem.endswith("Copy the bundle of version 2 here again, or export the policy as a new version.")


async def test_what_is_misspelt_is_told_before_what_is_missing(stub: Any) -> None:
    document = "policy: toy\nlanes: {canary: {versoin: 2}}\noverlaod: reject\nprecision: int4\n"
    message = (await failure(stub.ApplyDeployment(apply(document))))[2]
    assert message == (
        "deployment:2: lanes.canary.versoin: unknown field; expected one of share, version. "
        "Did you mean version? Also wrong: line 3: overlaod: unknown field, expected one of arms, batching, "
        "labels, lanes, overload, policy, precision, safety, serve (Did you mean overload?); "
        "line 2: lanes.canary.share: missing field; "
        "line 4: precision: got 'int4', expected 'auto', 'fp32' or 'int8' (Did you mean int8?)."
    )


@pytest.mark.parametrize(
    ("method", "request_", "said"),
    [
        (
            "SetShare",
            pb.SetShareRequest(policy="toy", lane="canary", share=0.2),
            "policy 'toy' has no lane or arm 'canary'.",
        ),
        (
            "Promote",
            pb.PromoteRequest(policy="toy"),
            "policy 'toy' has no 'canary' that could be promoted.",
        ),
    ],
)
async def test_what_cannot_be_moved_says_what_to_do(stub: Any, method: str, request_: Any, said: str) -> None:
    remedy = "Only stable is open. Apply a deployment that opens a canary or arms first."
    assert (await failure(getattr(stub, method)(request_)))[2] == f"{said} {remedy}"


async def test_what_could_be_moved_instead_is_named(stub: Any) -> None:
    arms = "policy: toy\narms: {a: {version: 1, share: 0.5}, b: {version: 2, share: 0.5}}\n"
    await stub.ApplyDeployment(apply(arms))
    for call in (
        stub.Promote(pb.PromoteRequest(policy="toy")),
        stub.SetShare(pb.SetShareRequest(policy="toy", lane="c", share=0.2)),
    ):
        assert (await failure(call))[2].endswith("; expected one of: a, b")


async def history(stub: Any, **fields: Any) -> list[list[int]]:
    """The ids of the entries on each page."""
    pages = []
    request = pb.GetHistoryRequest(policy="toy", **fields)
    while True:
        answer = await stub.GetHistory(request)
        pages.append([entry.id for entry in answer.entries])
        if not answer.next_before_id:
            return pages
        request.before_id = answer.next_before_id


async def test_history_comes_in_pages(stub: Any) -> None:
    for version in (1, 2, 1, 2, 1):
        await stub.ApplyDeployment(apply(BARE.replace("2", str(version))))
    assert await history(stub) == [[5, 4, 3, 2, 1]]
    assert await history(stub, limit=2) == [[5, 4], [3, 2], [1]]
    assert await history(stub, limit=5) == [[5, 4, 3, 2, 1]]
    assert await history(stub, before_id=3, limit=1) == [[2], [1]]
    assert await history(stub, before_id=1) == [[]]


async def test_no_page_of_the_history_is_larger_than_it_may_be(
    stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in (1, 2, 1, 2):
        rules = "[{constant: 1}, {preference: [0, 1]}, {name: third, constant: 0}]"
        document = f"{BARE.replace('2', str(version))}safety: {{fallback: {rules}}}\n"
        await stub.ApplyDeployment(apply(document))
    whole = await stub.GetHistory(pb.GetHistoryRequest(with_documents=True))
    largest = sum(entry.ByteSize() for entry in whole.entries[2:])
    monkeypatch.setattr(answers, "MAX_PAGE_BYTES", largest)
    assert await history(stub, with_documents=True) == [[4, 3], [2, 1]]
    assert await history(stub) == [[4, 3, 2, 1]]
    monkeypatch.setattr(answers, "MAX_PAGE_BYTES", 1)
    assert await history(stub) == [[4], [3], [2], [1]]
