"""Two runs never share a folder."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from steersman.training.folders import claim_folder, slug

if TYPE_CHECKING:
    from conftest import SettingsFactory


def test_claims_at_the_same_time_get_different_folders(tiny: SettingsFactory) -> None:
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(claim_folder, [tiny()] * 40))
    assert {folder.name for folder in claimed} == {f"ppo-0-{n}" for n in range(1, 41)}


def test_the_number_of_a_deleted_run_in_between_is_not_used_again(tiny: SettingsFactory) -> None:
    first, _ = claim_folder(tiny()), claim_folder(tiny())
    first.rmdir()
    assert claim_folder(tiny()).name == "ppo-0-3"


def test_names_beside_the_numbers_do_not_disturb(tiny: SettingsFactory) -> None:
    parent = claim_folder(tiny(seed=0)).parent
    for name in ("ppo-0-old", "ppo-00-9", "ppo-0-"):
        Path(parent, name).mkdir()
    assert claim_folder(tiny(seed=0)).name == "ppo-0-2"


@pytest.mark.parametrize(("env_id", "name"), [("ALE/Pong-v5", "ALE-Pong-v5"), ("CartPole-v1", "CartPole-v1")])
def test_an_environment_id_becomes_one_folder_name(env_id: str, name: str) -> None:
    assert slug(env_id) == name
