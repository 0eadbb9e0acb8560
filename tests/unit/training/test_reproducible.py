"""Equal settings give equal weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from stable_baselines3 import PPO

from steersman.training import train_policy

if TYPE_CHECKING:
    from conftest import SettingsFactory
    from steersman.training import TrainingResult


def weights(result: TrainingResult, file: str = "model.zip") -> dict[str, torch.Tensor]:
    return PPO.load(result.folder / file, device="cpu").policy.state_dict()


def equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("normalize", [False, True])
def test_a_seed_fixes_every_weight_and_every_evaluation(
    tiny: SettingsFactory, normalize: bool | None
) -> None:
    first, again = (train_policy(tiny("CartPole-v1", seed=3, normalize=normalize)) for _ in range(2))
    assert equal(weights(first), weights(again))
    assert equal(weights(first, "best_model.zip"), weights(again, "best_model.zip"))
    assert first.run.best == again.run.best


def test_another_seed_gives_another_policy(tiny: SettingsFactory) -> None:
    first, other = (train_policy(tiny("CartPole-v1", seed=seed, timesteps=128)) for seed in (3, 4))
    assert not equal(weights(first), weights(other))


def test_evaluating_more_often_does_not_change_what_is_learned(tiny: SettingsFactory) -> None:
    seldom, often = (train_policy(tiny("CartPole-v1", eval_every=every)) for every in (1000, 30))
    assert equal(weights(seldom), weights(often))


def test_the_callers_torch_threads_are_left_as_they_were(tiny: SettingsFactory) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        train_policy(tiny(timesteps=128))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
