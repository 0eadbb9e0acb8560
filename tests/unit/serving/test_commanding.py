"""What people order: which list workers get, what is kept, and what an absent store changes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from steersman.safety.commands import CommandList, KillSwitch, LeaseSettings, Override
from steersman.serving.kill_file import KILL_FILE, read_kill_file
from steersman.serving.rollout.archive import Archive
from steersman.serving.rollout.errors import ChangeRefusedError, StoreError
from steersman.serving.rollout.noted import Note
from steersman.serving.supervising.commanding import Commander

START = datetime(2026, 1, 1, tzinfo=UTC)


class Away:
    """A store that cannot be used."""

    empty = False

    async def use(self, work: Callable[[Any], Any]) -> Any:
        del work
        raise StoreError("away", where="store")


class Rig:
    """A commander over a folder, with a clock of its own."""

    def __init__(self, folder: Path, *, away: bool = False, lease_s: float | None = None) -> None:
        self.now = START
        self.told: list[CommandList] = []
        self.archive: Any = Away() if away else Archive("", folder)
        settings = None if lease_s is None else LeaseSettings(within_s=lease_s)
        self.commander = Commander(
            folder, cast("Archive", self.archive), lambda: self.now, lambda: {"toy": settings}
        )
        self.commander.lead(self.told.append)

    def override(self, number: str = "a", seconds: float = 60, **more: Any) -> Override:
        now = self.commander.now
        document = {"kind": "pin", "action": 1, **more}
        return Override(
            id=number,
            policy="toy",
            actor="me",
            reason="r",
            set_unix_nanos=now,
            expires_unix_nanos=now + int(seconds * 1e9),
            **document,
        )

    def note(self) -> Note:
        return Note("set_override", "me", "r", ("line",), self.commander.now, "toy")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


async def test_an_override_is_told_kept_and_over_in_time(rig: Rig, tmp_path: Path) -> None:
    await rig.commander.begin()
    override = rig.override()
    await rig.commander.set(override, rig.note())
    assert rig.told[-1].overrides == (override,)
    again = Rig(tmp_path)
    assert (await again.commander.begin()).overrides == (override,)
    rig.now += timedelta(seconds=61)
    rig.commander.look()
    assert rig.told[-1].overrides == ()
    assert rig.told[-1].number > rig.told[0].number


async def test_a_second_one_for_a_target_takes_the_place_of_the_first(rig: Rig) -> None:
    await rig.commander.set(rig.override("a"), rig.note())
    await rig.commander.set(rig.override("b", action=2), rig.note())
    await rig.commander.set(rig.override("c", episode_id="e"), rig.note())
    assert sorted(each.id for each in rig.told[-1].overrides) == ["b", "c"]
    await rig.commander.clear(rig.commander.overrides["b"], rig.note())
    assert [each.id for each in rig.told[-1].overrides] == ["c"]


async def test_without_the_store_an_override_is_refused_and_those_in_force_stay(tmp_path: Path) -> None:
    first = Rig(tmp_path)
    await first.commander.set(first.override(), first.note())
    away = Rig(tmp_path, away=True)
    assert len((await away.commander.begin()).overrides) == 1
    with pytest.raises(StoreError):
        await away.commander.set(away.override("b", episode_id="e"), away.note())
    assert [each.id for each in away.commander.current.overrides] == ["a"]


async def test_the_kill_switch_needs_no_store(tmp_path: Path) -> None:
    rig = Rig(tmp_path, away=True)
    shared = await rig.commander.halt(KillSwitch(actor="me", reason="smoke", at_unix_nanos=1), rig.note())
    assert not shared
    assert rig.told[-1].kill_switch == KillSwitch(actor="me", reason="smoke", at_unix_nanos=1)
    assert read_kill_file(tmp_path) is not None
    assert (await Rig(tmp_path, away=True).commander.begin()).kill_switch is not None
    assert await rig.commander.resume(rig.note())
    assert rig.told[-1].kill_switch is None
    assert not await rig.commander.resume(rig.note())


@pytest.mark.parametrize("content", ["", "{", '{"actor": "x"}', "\x00" * 100])
async def test_a_file_is_enough_whatever_is_in_it(rig: Rig, tmp_path: Path, content: str) -> None:
    (tmp_path / KILL_FILE).write_text(content)
    rig.commander.look()
    assert rig.told[-1].kill_switch is not None
    (tmp_path / KILL_FILE).unlink()
    rig.commander.look()
    assert rig.told[-1].kill_switch is None


async def test_what_another_host_says_in_the_store_is_followed(tmp_path: Path) -> None:
    one = Rig(tmp_path)
    await one.commander.set(one.override(), one.note())
    await one.commander.halt(KillSwitch(actor="me", at_unix_nanos=5), one.note())
    folder = tmp_path / "other"
    folder.mkdir()
    other = Rig(folder)
    other.archive = Archive(f"sqlite:///{tmp_path / 'steersman.db'}", folder)
    vars(other.commander)["_archive"] = one.archive
    await other.commander.follow()
    assert [each.id for each in other.told[-1].overrides] == ["a"]
    assert other.told[-1].kill_switch is not None
    await one.commander.resume(one.note())
    await other.commander.follow()
    assert other.told[-1].kill_switch is None


async def test_a_lease_runs_out_and_is_renewed_but_not_by_a_restart(tmp_path: Path) -> None:
    rig = Rig(tmp_path, lease_s=60)
    listed = await rig.commander.begin()
    assert listed.leases[0].until_unix_nanos == rig.commander.now + 60 * 10**9
    rig.now += timedelta(seconds=50)
    again = Rig(tmp_path, lease_s=60)
    again.now = rig.now
    assert (await again.commander.begin()).leases == listed.leases
    until = await again.commander.renew("toy", 0, "me")
    assert until == {"toy": again.commander.now + 60 * 10**9}
    assert again.told[-1].leases[0].until_unix_nanos == until["toy"]
    with pytest.raises(ChangeRefusedError):
        await again.commander.renew("nobody", 0, "me")
