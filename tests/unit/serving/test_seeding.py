"""What is in force when a server starts: the store, the files that it was given, or what it did last."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import pytest

from steersman.bundle.errors import BundleNotFoundError, UsageError
from steersman.monitoring.blocks import Allocator
from steersman.serving.planning.planner import Planner
from steersman.serving.rollout.archive import Archive, Result
from steersman.serving.rollout.changes import end_rollout, set_share
from steersman.serving.rollout.errors import ChangeRefusedError, StoreError
from steersman.serving.rollout.journal import Change
from steersman.serving.rollout.state import DeploymentState
from steersman.serving.rollout.store import Store
from steersman.serving.state import load_states, save_states
from steersman.serving.supervising.seeding import Seeder, read_seeds
from support.toy_bundle import discrete_contract, publish_toy

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CANARY = "policy: toy\nlanes: {stable: {version: 1}, canary: {version: 2, share: 0.1}}\n"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1 and 2 of `toy`, and 3 with other specs."""
    root = tmp_path_factory.mktemp("published")
    for contract in (None, None, discrete_contract(start=5)):
        publish_toy(root, contract=contract)
    return root


class Host:
    """A host with a state folder, on which servers start one after the other."""

    def __init__(self, bundles: Path, folder: Path) -> None:
        self.bundles = bundles
        self.folder = folder
        self.file = folder / "toy.yaml"
        numbers = count(1)
        self._ids = lambda: f"r{next(numbers)}"

    def archive(self, store: str = "") -> Archive:
        return Archive(store, self.folder)

    async def start(self, text: str | None = CANARY, store: str = "") -> dict[str, DeploymentState]:
        """The states that a server starts with which was given this file."""
        files: Sequence[Path] = () if text is None else (self.file,)
        if text is not None:
            self.file.write_text(text)
        deployed = await self.seeder(self.archive(store)).deployed(read_seeds(files))
        states = deployed.states
        save_states(self.folder, states)
        return states

    def seeder(self, archive: Archive) -> Seeder:
        """What finds out what is deployed, with another way to the store."""
        planner = Planner(self.bundles, {}, (), Allocator(0, 100_000))
        return Seeder(archive, planner, self.folder, lambda: NOW, self._ids)

    async def move(self, state: DeploymentState, share: float) -> None:
        """Somebody moves the canary."""
        moved = set_share(state, "canary", share, self._ids)
        change = Change(moved.state, "set_share", "ann", "", moved.lines, 1)
        await self.archive().use(lambda store: store.save(change))


@pytest.fixture
def host(published: Path, tmp_path: Path) -> Host:
    return Host(published, tmp_path)


async def test_without_files_and_store_nothing_is_deployed_and_nothing_is_stored(host: Host) -> None:
    assert await host.start(None) == {}
    assert host.archive().empty


async def test_a_file_is_applied_once_and_is_in_the_history(host: Host) -> None:
    first = await host.start()
    assert (first["toy"].revision, first["toy"].rollout_id) == (1, "r1")
    assert await host.start() == first
    (entry,) = await host.archive().use(lambda store: store.entries())
    assert (entry.actor, entry.action, entry.reason) == ("serve", "apply", "toy.yaml")


async def test_what_people_moved_since_is_in_force(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    await host.move((await host.start())["toy"], 0.5)
    with caplog.at_level(logging.INFO):
        again = await host.start()
    assert again["toy"].revision == 2
    assert "what is stored is in force; the deployment file was applied before" in caplog.messages
    assert await host.start(None) == again


async def test_a_file_that_was_edited_is_applied_again(host: Host) -> None:
    first = await host.start()
    await host.move(first["toy"], 0.5)
    edited = await host.start(CANARY.replace("0.1", "0.2"))
    lanes = edited["toy"].deployment.lanes
    assert lanes.canary is not None
    assert (edited["toy"].revision, lanes.canary.share) == (3, 0.2)
    assert edited["toy"].rollout_id == first["toy"].rollout_id


async def test_a_file_from_which_safety_got_lost_ends_the_start_and_says_how_to_mean_it(host: Host) -> None:
    await host.start(CANARY + "safety: {fallback: [{constant: 1}]}\n")
    with pytest.raises(UsageError, match=r"^toy.yaml: .* chain of 1 member \(constant\).*`safety: {}`"):
        await host.start(CANARY)
    assert (await host.start(CANARY + "safety: {}\n"))["toy"].revision == 2
    assert (await host.start(CANARY))["toy"].revision == 2


async def test_an_edit_that_says_the_same_is_no_revision(host: Host) -> None:
    await host.start()
    assert (await host.start(CANARY + "# a remark\n"))["toy"].revision == 1
    await host.move((await host.start(None))["toy"], 0.5)
    assert (await host.start(CANARY + "# a remark\n"))["toy"].revision == 2


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("policy: toy\nlanes: {stable: {version: 7}}\n", BundleNotFoundError),
        (CANARY.replace("version: 2", "version: 3"), ChangeRefusedError),
        ("policy: toy\nsafety: {fallback: [{constant: 9}]}\n", UsageError),
    ],
)
async def test_a_file_that_cannot_be_meant_ends_the_start(
    host: Host, text: str, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        await host.start(text)
    assert await host.start(None) == {}


async def test_a_damaged_bundle_does_not_end_it(host: Host, tmp_path: Path) -> None:
    host.bundles = shutil.copytree(host.bundles, tmp_path / "bundles")
    with (host.bundles / "toy" / "2" / "policy.onnx").open("ab") as file:
        file.write(b"x")
    assert (await host.start())["toy"].revision == 1


def test_two_files_for_one_policy_are_one_too_many(tmp_path: Path) -> None:
    files = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    for file in files:
        file.write_text(CANARY)
    with pytest.raises(UsageError, match="has a deployment already"):
        read_seeds(files)


async def test_without_its_store_a_server_starts_with_what_it_had(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    had = await host.start()
    assert await host.start(None, store="sqlite:////nowhere/at/all/store.db") == had
    assert any(message.startswith("THE STORE CANNOT BE USED") for message in caplog.messages)


async def test_a_server_that_never_had_anything_does_not_start_without_its_store(host: Host) -> None:
    with pytest.raises(StoreError):
        await host.start(store="sqlite:////nowhere/at/all/store.db")


async def test_states_survive_in_a_file(host: Host) -> None:
    states = await host.start()
    assert load_states(host.folder) == states
    (host.folder / "deployments.json").write_text("{")
    assert load_states(host.folder) is None


async def test_a_host_learns_what_others_cut_while_it_was_down(host: Host) -> None:
    state = (await host.start())["toy"]
    ended = end_rollout(state, lambda: "r9")
    change = Change(ended.state, "rollback", "ann", "", ended.lines, 1, cuts=ended.cuts)
    await host.archive().use(lambda store: store.save(change))
    deployed = await host.seeder(host.archive()).deployed({})
    assert (deployed.states["toy"], deployed.cut) == (ended.state, frozenset({"toy"}))
    save_states(host.folder, deployed.states)
    assert not (await host.seeder(host.archive()).deployed({})).cut


async def test_of_two_hosts_that_apply_the_same_file_at_once_both_start(host: Host) -> None:
    class Slow(Archive):
        """While this host still thinks about what it has read, another one starts."""

        overtaken = False

        async def use(self, work: Callable[[Store], Result]) -> Result:
            found = await super().use(work)
            if not self.overtaken:
                self.overtaken = True
                await host.start()
            return found

    host.file.write_text(CANARY)
    archive = Slow("", host.folder)
    deployed = await host.seeder(archive).deployed(read_seeds([host.file]))
    assert deployed.states == await host.start()
    assert len(await archive.use(lambda store: store.entries())) == 1
