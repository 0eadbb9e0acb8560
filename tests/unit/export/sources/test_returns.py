"""Returns of paired episodes."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from steersman.export.policies.family import Acted
from steersman.export.policies.inputs import Inputs
from steersman.export.sources import returns
from steersman.export.sources.returns import evaluate
from unit.export.sources.conftest import Zip
from unit.export.sources.worlds import WORLD, Prepared, world


def still(inputs: Inputs) -> Acted:
    return Acted(np.zeros(len(inputs), np.int64))


def test_every_form_plays_the_same_episodes(zipped: Zip) -> None:
    prepared = Prepared(zipped(), **world())
    assert prepared.setting.stage is not None
    with prepared.setting.stage.open(9) as copies:
        first, other, again = (evaluate(copies, act, 3) for act in (prepared.oracle.act, still, still))
        elsewhere = evaluate(copies, still, 4)
    assert (other == again).all()
    assert (other[1:] == elsewhere[:-1]).all()
    assert first.shape == (9,)
    for i in range(9):
        env = gymnasium.make(WORLD)
        env.reset(seed=3 + i)
        total, ended = 0.0, False
        while not ended:
            _, reward, ended, _, _ = env.step(0)
            total += float(reward)
        assert other[i] == pytest.approx(total)


def test_finished_copies_are_left_alone(zipped: Zip) -> None:
    prepared, asked = Prepared(zipped(), **world()), []

    def counting(inputs: Inputs) -> Acted:
        asked.append(len(inputs))
        return still(inputs)

    assert prepared.setting.stage is not None
    with prepared.setting.stage.open(20) as copies:
        evaluate(copies, counting, 0)
    assert asked == sorted(asked, reverse=True)
    assert (asked[0], len(asked)) == (20, 16)


def test_endless_episodes_are_cut_at_the_same_step(zipped: Zip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(returns, "MOST_STEPS", 50)
    steps: list[int] = []
    prepared = Prepared(zipped(), **world(length=10**9))
    assert prepared.setting.stage is not None
    with prepared.setting.stage.open(3) as copies:
        played = evaluate(copies, still, 0, on_steps=steps.append)
    assert (len(played), len(steps)) == (3, 50)


def test_a_recurrent_policy_begins_every_episode_afresh(zipped: Zip) -> None:
    prepared = Prepared(zipped("RecurrentPPO"), **world())
    assert prepared.setting.stage is not None
    with prepared.setting.stage.open(5, prepared.contract.state) as copies:
        first, second = (evaluate(copies, prepared.oracle.act, 0) for _ in range(2))
    assert (first == second).all()


def test_masks_reach_the_policy(zipped: Zip) -> None:
    prepared = Prepared(zipped("MaskablePPO"), **world())
    masks: list[Any] = []

    def looking(inputs: Inputs) -> Acted:
        masks.append(inputs.action_mask)
        return prepared.oracle.act(inputs)

    assert prepared.setting.stage is not None
    with prepared.setting.stage.open(2) as copies:
        evaluate(copies, looking, 0)
    assert masks[0].tolist() == [[False, True, True]] * 2
