"""A host that follows the store: what another host changes, it takes over as if it had been changed here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from steersman.serving.control.requests import Asked
from steersman.serving.rollout.journal import Stored
from support.control_kit import ControlKit
from support.toy_bundle import publish_toy

ASKED = Asked("ann")
CANARY = "{policy: toy, lanes: {stable: {version: 1}, canary: {version: 2, share: 0.1}}}"
STABLE = "{policy: toy, lanes: {stable: {version: 1}}}"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of `toy`."""
    root = tmp_path_factory.mktemp("bundles")
    for _ in range(2):
        publish_toy(root)
    return root


@pytest.fixture
async def kit(bundles: Path, tmp_path: Path) -> ControlKit:
    """One host; others share its store."""
    made = ControlKit(bundles, tmp_path)
    await made.begin()
    return made


async def test_another_host_s_rollback_cuts_here_too(kit: ControlKit, bundles: Path, tmp_path: Path) -> None:
    other = ControlKit(bundles, tmp_path)
    await other.begin()
    await kit.operator.apply(CANARY, ASKED)
    await other.follower.tick()
    assert [lane for lane, _, _ in other.lanes()] == ["stable", "canary"]
    last = other.director.plan.snapshot
    await kit.operator.roll_back("toy", 0, ASKED, keep_episodes=False)
    await other.follower.tick()
    assert other.lanes() == kit.lanes() == [("stable", 1, "open")]
    for cut, roles in ((frozenset({"toy"}), ["open"]), (frozenset[str](), ["open", "draining"])):
        late = ControlKit(bundles, tmp_path, states=other.director.states, before=other.planner.recall(last))
        await late.director.begin(cut)
        assert [role for _, _, role in late.lanes()] == roles


async def test_what_another_host_changed_is_read_while_nobody_changes_anything_here(kit: ControlKit) -> None:
    async def read() -> dict[str, Stored]:
        assert kit.director.lock.locked()
        return {}

    assert not await kit.director.deploy(read)


async def test_a_version_that_was_just_published_is_found_when_another_host_deploys_it(
    kit: ControlKit, tmp_path: Path, bundles: Path
) -> None:
    theirs = shutil.copytree(bundles, tmp_path / "theirs")
    shutil.move(theirs / "toy" / "2", tmp_path / "late")
    other = ControlKit(theirs, tmp_path)
    await other.begin()
    await other.operator.apply(STABLE, ASKED)
    await kit.operator.apply(CANARY, ASKED)
    shutil.move(tmp_path / "late", theirs / "toy" / "2")
    await other.follower.tick()
    assert ("canary", 2, "open") in other.lanes()
