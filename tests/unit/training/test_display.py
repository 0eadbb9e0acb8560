"""What a person sees while a policy trains."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from steersman.training import Progress, train_policy
from steersman.training.display import describe, open_display
from steersman.training.run import Evaluation

if TYPE_CHECKING:
    from conftest import SettingsFactory


def at(seconds: float, timesteps: int = 2_000) -> Progress:
    score = Evaluation(mean_return=132.4, std_return=20.1, episodes=20, timesteps=2_000)
    best = Evaluation(mean_return=140.0, std_return=9.0, episodes=20, timesteps=1_000)
    return Progress(Path("runs/x"), timesteps, 10_000, seconds, 87.1, score, best, 475.0)


def shown(console: Console, *moments: Progress) -> str:
    with open_display(console=console) as display:
        for moment in moments:
            display(moment)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_log_gets_a_line_every_five_seconds() -> None:
    lines = shown(Console(file=io.StringIO()), *(at(second / 10) for second in range(121))).splitlines()
    assert len(lines) == 3
    assert lines[0] == (
        "2,000 of 10,000 steps in 0:00:01, at most 0:00:04 left: "
        "return 87.1, evaluated 132.4 ± 20.1 (best 140.0), target 475"
    )


def test_a_terminal_gets_a_bar() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, color_system=None)
    text = shown(console, at(1), at(2, timesteps=10_000))
    assert "10,000/10,000" in text
    assert "return 87.1, best 140.0, target 475" in text


def test_quiet_shows_nothing_and_still_knows_the_folder() -> None:
    console = Console(file=io.StringIO())
    with open_display(quiet=True, console=console) as display:
        display(at(1))
    assert display.folder == Path("runs/x")
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == ""


def test_before_the_first_episode_there_is_no_return_to_show() -> None:
    assert describe(Progress(Path("x"), 0, 10, 0.0, None, None, None, None)) == ""


def test_a_listener_hears_of_the_start_and_the_end(tiny: SettingsFactory) -> None:
    heard: list[Progress] = []
    result = train_policy(tiny(target_return=11.0), heard.append)
    assert heard[0].timesteps == 2
    assert heard[-1].timesteps == heard[-1].total == 256
    assert heard[-1].best == result.run.best
    assert heard[-1].target == 11.0
    assert {progress.folder for progress in heard} == {result.folder}
