"""Recorded observations: read without pickles, checked, and answered by the policy."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steersman.bundle.errors import SteersmanError
from steersman.export.sources.episodes import examined_episodes
from steersman.export.sources.references import describe_rollouts
from unit.export.sources.conftest import Zip
from unit.export.sources.worlds import Prepared

ROWS = np.random.default_rng(0).normal(size=(60, 3)).clip(-2, 2).astype(np.float32)
EPISODES = np.repeat([7, 3, 9], [10, 30, 20])


def recorded(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "seen.npz", **{name.replace("__", "/"): array for name, array in arrays.items()})
    return folder / "seen.npz"


def rollouts(prepared: Prepared, file: Path) -> Any:
    return prepared.rollouts(observations=file)


def test_the_policy_acts_on_what_was_recorded(zipped: Zip, tmp_path: Path) -> None:
    prepared = Prepared(zipped())
    rewards = np.ones(60)
    greedy, sampled = rollouts(prepared, recorded(tmp_path, obs=ROWS, episode=EPISODES, reward=rewards))
    assert [len(e.actions) for e in greedy.episodes] == [30, 10, 20]
    assert [e.total_return for e in greedy.episodes] == [30, 10, 20]
    assert (greedy.episodes[1].inputs.observations["obs"] == ROWS[:10]).all()
    expected = prepared.saved.policy.predict(ROWS[:10], deterministic=True)[0]
    assert (greedy.episodes[1].actions == expected).all()
    info = describe_rollouts([greedy, sampled], prepared.contract)
    assert (info.source, info.synthetic, info.steps) == ("recorded", False, {"greedy": 60, "sampled": 60})
    assert examined_episodes([greedy, sampled]) == list(greedy.episodes)


def test_rows_of_episodes_may_lie_between_each_other(zipped: Zip, tmp_path: Path) -> None:
    file = recorded(tmp_path, obs=ROWS, episode=np.arange(60) % 2)
    (greedy, _) = rollouts(Prepared(zipped()), file)
    assert (greedy.episodes[1].inputs.observations["obs"] == ROWS[1::2]).all()


def test_without_episodes_rows_are_split_into_blocks(zipped: Zip, tmp_path: Path) -> None:
    (greedy, _) = rollouts(Prepared(zipped()), recorded(tmp_path, obs=ROWS, reward=np.ones(60)))
    assert [len(e.actions) for e in greedy.episodes] == [3] * 20
    assert greedy.mean_return is None


def test_rows_of_one_endless_episode_are_split_into_blocks(zipped: Zip, tmp_path: Path) -> None:
    lone = {"episode": np.full(60, 4), "reward": np.ones(60)}
    (greedy, _) = rollouts(Prepared(zipped()), recorded(tmp_path, obs=ROWS, **lone))
    assert [len(e.actions) for e in greedy.episodes] == [3] * 20
    assert greedy.mean_return is None
    recurrent = Prepared(zipped("RecurrentPPO"))
    assert len(rollouts(recurrent, recorded(tmp_path, obs=ROWS, **lone))[0].episodes) == 20


def test_other_types_are_cast_where_nothing_is_lost(zipped: Zip, tmp_path: Path) -> None:
    (greedy, _) = rollouts(Prepared(zipped()), recorded(tmp_path, obs=ROWS.astype(np.float64)))
    assert greedy.episodes[0].inputs.observations["obs"].dtype == np.float32
    image = zipped("image", observation="image")
    seen = np.random.default_rng(0).integers(0, 256, (25, 3, 36, 40))
    (greedy, _) = rollouts(Prepared(image), recorded(tmp_path, obs=seen))
    assert greedy.episodes[0].inputs.observations["obs"].dtype == np.uint8


def test_a_dict_is_recorded_by_key(zipped: Zip, tmp_path: Path) -> None:
    prepared = Prepared(zipped("A2C", observation="goal"))
    file = recorded(tmp_path, obs__observation=ROWS, obs__desired_goal=ROWS)
    assert rollouts(prepared, file)[0].steps == 60


def test_masks_are_obeyed(zipped: Zip, tmp_path: Path) -> None:
    masks = np.eye(3)[np.arange(60) % 3]
    greedy, sampled = rollouts(Prepared(zipped()), recorded(tmp_path, obs=ROWS, action_mask=masks))
    for rollout in (greedy, sampled):
        actions = np.concatenate([episode.actions for episode in rollout.episodes])
        assert (actions == np.arange(60) % 3).all()


def test_recurrent_policies_run_through_each_episode(zipped: Zip, tmp_path: Path) -> None:
    prepared = Prepared(zipped("RecurrentPPO"))
    (greedy, _) = rollouts(prepared, recorded(tmp_path, obs=ROWS, episode=EPISODES))
    policy, state, actions = prepared.saved.policy, None, []
    for i in range(30):
        action, state = policy.predict(ROWS[10 + i], state, np.array([i == 0]), deterministic=True)
        actions.append(action)
    assert greedy.episodes[0].actions.tolist() == actions
    with pytest.raises(SteersmanError, match="no array 'episode'"):
        rollouts(prepared, recorded(tmp_path, obs=ROWS))


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"observations": ROWS}, "no array 'obs', only observations"),
        ({"obs": ROWS, "actions": ROWS}, "array 'actions' is not known; expected obs, episode"),
        ({"obs": ROWS[:, :2]}, r"obs: observations are float32 \[2\]; expected float32 \[3\]"),
        ({"obs": ROWS.astype("U4")}, r"obs: observations are <U4 \[3\]"),
        ({"obs": ROWS.astype(object)}, "no whole file of plain arrays"),
        ({"obs": ROWS[:0]}, "as many in each"),
        ({"obs": ROWS, "episode": EPISODES[:5]}, "as many in each"),
        ({"obs": ROWS, "episode": EPISODES.astype(float)}, "episode: this is not one integer for each row"),
        ({"obs": ROWS, "episode": np.full(60, np.nan)}, "episode: this is not one integer for each row"),
        ({"obs": ROWS, "reward": ROWS}, "reward: this is not one number for each row"),
        ({"obs": np.where(np.arange(60)[:, None] == 12, np.nan, ROWS)}, "row 12 is not finite"),
        ({"obs": ROWS, "action_mask": np.ones((60, 2), bool)}, r"action_mask: masks are bool \[2\]"),
        ({"obs": ROWS, "action_mask": np.zeros((60, 3), bool)}, "a row allows nothing"),
        ({"obs": ROWS, "action_mask": np.full((60, 3), 0.5)}, "masks are float64"),
    ],
)
def test_files_that_do_not_fit_are_refused(zipped: Zip, tmp_path: Path, arrays: Any, expected: str) -> None:
    with pytest.raises(SteersmanError, match=expected) as caught:
        rollouts(Prepared(zipped()), recorded(tmp_path, **arrays))
    assert "\n" not in str(caught.value)


def test_whole_numbers_must_be_whole(zipped: Zip, tmp_path: Path) -> None:
    prepared = Prepared(zipped("image", observation="image"))
    with pytest.raises(SteersmanError, match="values that are no uint8"):
        rollouts(prepared, recorded(tmp_path, obs=np.full((3, 3, 36, 40), 256)))


def test_files_of_another_kind_are_refused(zipped: Zip, tmp_path: Path) -> None:
    prepared, planted = Prepared(zipped()), tmp_path / "planted"

    class Planted:
        def __reduce__(self) -> Any:
            return planted.touch, ()

    files = {
        "gone.npz": None,
        "text.npz": b"not an archive",
        "pickle.npz": pickle.dumps(Planted()),
        "cut.npz": recorded(tmp_path, obs=ROWS).read_bytes()[:-40],
    }
    for name, content in files.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(SteersmanError, match=r"it cannot be read|no whole file of plain arrays"):
            rollouts(prepared, tmp_path / name)
    np.save(tmp_path / "one.npy", ROWS)
    with pytest.raises(SteersmanError, match="one array without a name"):
        rollouts(prepared, tmp_path / "one.npy")
    assert not planted.exists()
