"""Which algorithm a file is of, and what happens when that cannot be told or is contradicted."""

from __future__ import annotations

from pathlib import Path

import pytest

from steersman.export.errors import ExportUsageError
from steersman.export.reading.load import load_policy
from steersman.export.vocabulary import Algorithm
from unit.export.reading.conftest import Build
from unit.export.reading.files import ALGORITHMS, Fields, Kind, rewritten

CONTINUOUS = {"SAC", "TD3", "DDPG", "TQC", "CrossQ"}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_algorithm_is_inferred_and_may_be_named(build: Build, name: str) -> None:
    path = build(Kind(name, action="arm" if name in CONTINUOUS else "choice"))[1]
    named = next(member for member in Algorithm if member.sb3_name.replace("-", "") == name)
    assert load_policy(path).algorithm == load_policy(path, named).algorithm == named.sb3_name


def test_what_is_asked_for_goes_before_what_the_fields_say(plain_zip: Path) -> None:
    assert load_policy(plain_zip, Algorithm.A2C).algorithm == "A2C"


@pytest.mark.parametrize("asked", [Algorithm.DQN, Algorithm.MASKABLE_PPO, Algorithm.SAC])
def test_what_the_policy_cannot_be_is_refused(plain_zip: Path, asked: Algorithm) -> None:
    with pytest.raises(
        ExportUsageError,
        match=rf"--algo {asked} does not fit .* ActorCriticPolicy; expected ppo or a2c or trpo",
    ):
        load_policy(plain_zip, asked)


def test_what_the_run_says_is_not_blamed_on_the_person(plain_zip: Path) -> None:
    with pytest.raises(ExportUsageError, match=r"dqn, as the run says, does not fit .*with --algo\.$"):
        load_policy(plain_zip, Algorithm.DQN, from_run=True)


def test_an_ambiguous_file_needs_a_name(plain_zip: Path, tmp_path: Path) -> None:
    def strip(fields: Fields) -> None:
        for name in ("clip_range", "gae_lambda"):
            del fields[name]

    path = rewritten(plain_zip, tmp_path / "model.zip", strip)
    with pytest.raises(ExportUsageError, match=r"it may be ppo or a2c or trpo\. Name it with --algo"):
        load_policy(path)
    assert load_policy(path, Algorithm.TRPO).algorithm == "TRPO"


def test_ddpg_is_a_td3_with_its_settings_fixed(build: Build, tmp_path: Path) -> None:
    path = build(Kind("DDPG", action="arm"))[1]
    assert load_policy(path).algorithm == "DDPG"
    delayed = rewritten(path, tmp_path / "model.zip", lambda fields: fields.update(policy_delay=2))
    assert load_policy(delayed).algorithm == "TD3"


def test_the_zoo_s_name_of_recurrent_ppo_is_known() -> None:
    assert Algorithm("ppo_lstm") is Algorithm.RECURRENT_PPO
    assert Algorithm.QRDQN.sb3_name == "QR-DQN"
    with pytest.raises(ValueError, match="reinforce"):
        Algorithm("reinforce")
