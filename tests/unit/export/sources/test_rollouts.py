"""Episodes: whole, unbiased, repeatable, and within bounds of memory."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from steersman.bundle.errors import SteersmanError
from steersman.bundle.reference import unpack_references
from steersman.export.sources import rollouts
from steersman.export.sources.episodes import Rollout, examined_episodes
from steersman.export.sources.references import describe_rollouts, pack_rollouts
from steersman.export.sources.rollouts import play
from unit.export.sources.conftest import Zip
from unit.export.sources.worlds import ACTIONS, OBSERVATIONS, Prepared, World, world


def played(prepared: Prepared, mode: Any = "greedy", count: int = 8, copies: int = 4) -> Rollout:
    assert prepared.setting.stage is not None
    with torch.random.fork_rng(), prepared.setting.stage.open(copies, prepared.contract.state) as envs:
        torch.manual_seed(2)
        return play(prepared.oracle, envs, mode, count, seed=5)


def gathered(prepared: Prepared, count: int = 8) -> tuple[Rollout, ...]:
    return prepared.rollouts(episodes=count)


def test_episodes_are_whole_and_as_many_as_asked(zipped: Zip) -> None:
    prepared = Prepared(zipped(), **world())
    rollout = played(prepared, count=30)
    assert len(rollout.episodes) == 32  # the next multiple of the copies
    assert {len(episode.actions) for episode in rollout.episodes} == {13, 14, 15, 16}
    returns = [episode.total_return for episode in rollout.episodes]
    assert rollout.mean_return == pytest.approx(np.mean(np.array(returns, float)))
    for episode in rollout.episodes:
        assert len(episode.inputs) == len(episode.actions)
        assert (prepared.oracle.act(episode.inputs).actions == episode.actions).all()


def test_steps_follow_each_other(zipped: Zip) -> None:
    """The world moves by a tenth of what the action adds up to, beside noise that the seed repeats."""
    (episode, *_) = played(Prepared(zipped(), **world())).episodes
    world_again = gymnasium.make(world()["env_id"])
    observation, _ = world_again.reset(seed=5)
    total = 0.0
    for row, action in zip(episode.inputs.observations["obs"], episode.actions, strict=True):
        assert (row == observation).all()
        observation, reward, *_ = world_again.step(action)
        total += float(reward)
    assert episode.total_return == pytest.approx(total)


def test_few_episodes_are_made_up_to_enough_steps(zipped: Zip) -> None:
    rollout = played(Prepared(zipped(), **world()), "sampled", count=1)
    assert rollout.steps >= 300
    assert all(episode.total_return is not None for episode in rollout.episodes)


def test_endless_episodes_are_cut_and_kept(zipped: Zip) -> None:
    rollout = played(Prepared(zipped(), **world(length=10**9)), count=4)
    assert [len(episode.actions) for episode in rollout.episodes] == [225] * 4
    assert rollout.mean_return is None


def test_a_seed_repeats_a_rollout(zipped: Zip) -> None:
    prepared = Prepared(zipped(), **world())
    first, second = (played(prepared, "sampled").episodes for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert (one.inputs.observations["obs"] == other.inputs.observations["obs"]).all()


def test_short_memory_keeps_some_steps_of_all(zipped: Zip, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = Prepared(zipped(), **world())
    whole = played(prepared, count=40)
    monkeypatch.setattr(rollouts, "MOST_BYTES", 2 * 4 * 3 * 4 * 50)  # fifty steps of four copies a mode
    thinned = played(prepared, count=40)
    kept = sum(len(episode.inputs) for episode in thinned.episodes)
    assert kept <= 200 < thinned.steps == whole.steps
    assert thinned.mean_return == whole.mean_return
    for full, part in zip(whole.episodes, thinned.episodes, strict=True):
        expected = full.inputs.observations["obs"][part.kept]
        assert (part.inputs.observations["obs"] == expected).all()
        assert (part.actions == full.actions).all()
    places = np.concatenate([episode.kept for episode in thinned.episodes])
    assert len(set(places.tolist())) >= 10  # not only beginnings
    unpack_references(pack_rollouts([thinned], prepared.contract, 0), "here")


@pytest.mark.parametrize("observation", sorted(set(OBSERVATIONS) - {"image"}))
def test_every_observation_is_played_and_sampled(zipped: Zip, observation: str) -> None:
    several = observation in {"mixed", "goal"}
    file = zipped("A2C" if several else "PPO", observation=observation)
    for prepared, synthetic in (
        (Prepared(file, **world(observation=observation)), False),
        (Prepared(file), True),
    ):
        modes = gathered(prepared)
        assert [rollout.synthetic for rollout in modes] == [synthetic] * 2
        for spec in prepared.contract.observations:
            rows = modes[0].episodes[0].inputs.observations[spec.input_name]
            assert (rows.dtype.name, rows.shape[1:]) == (spec.dtype, spec.shape)
        info = describe_rollouts(modes, prepared.contract)
        assert info.source == ("space" if synthetic else "environment")


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_every_action_has_a_reference(zipped: Zip, action: str) -> None:
    prepared = Prepared(zipped(action=action), **world(action=action))
    modes = gathered(prepared)
    references = unpack_references(pack_rollouts(modes, prepared.contract, 0), "here")
    for rollout in modes:
        reference = references[rollout.mode]
        assert (reference.action_counts.sum(axis=1) == rollout.steps).all()
        assert reference.feature_counts.sum(axis=1).tolist() == [rollout.steps] * 3


def test_images_have_actions_but_no_features_in_the_reference(zipped: Zip) -> None:
    file = zipped("image", observation="image")
    prepared = Prepared(file, **world(observation="image"))
    modes = gathered(prepared)
    (reference, _) = unpack_references(pack_rollouts(modes, prepared.contract, 0), "here").values()
    assert reference.feature_counts.shape[0] == 0
    assert reference.action_counts.sum() == modes[0].steps


def test_policies_without_a_distribution_play_greedily_only(zipped: Zip) -> None:
    for known in ({}, world()):
        (greedy,) = gathered(Prepared(zipped("DQN"), **known), 1)
        assert greedy.mode == "greedy"
        assert greedy.steps >= 600  # as many as two modes have


def test_choices_reach_the_environment_counted_from_its_start(zipped: Zip) -> None:
    (rollout, _) = gathered(Prepared(zipped(action="shifted"), **world(action="shifted")))
    actions = np.concatenate([episode.actions for episode in rollout.episodes])
    assert set(actions.tolist()) <= {-1, 0, 1}


def test_masks_of_the_environment_are_obeyed_and_kept(zipped: Zip) -> None:
    prepared = Prepared(zipped("MaskablePPO"), **world())
    for rollout in gathered(prepared):
        for episode in rollout.episodes:
            masks = episode.inputs.action_mask
            assert masks is not None
            assert (masks.argmin(axis=1) == np.arange(len(masks)) % 3).all()
            assert masks[np.arange(len(masks)), episode.actions].all()


def test_a_policy_that_takes_no_masks_plays_without(zipped: Zip) -> None:
    (rollout, _) = gathered(Prepared(zipped(), **world()))
    assert rollout.episodes[0].inputs.action_mask is None


def test_recurrent_state_is_carried_through_episodes_of_different_lengths(zipped: Zip) -> None:
    prepared = Prepared(zipped("RecurrentPPO"), **world())
    policy: Any = prepared.saved.policy
    for rollout in gathered(prepared):
        for episode in rollout.episodes[:6]:
            state: Any = None
            inputs = episode.inputs
            starts = np.arange(len(inputs)) == 0
            assert (inputs.episode_start == starts).all()
            for row, (observation, start) in enumerate(zip(inputs.observations["obs"], starts, strict=True)):
                for ours, theirs in zip(inputs.state.values(), state or (), strict=False):
                    assert ours[row].ravel() == pytest.approx(np.asarray(theirs).ravel(), abs=1e-6)
                _, state = policy.predict(observation, state, np.array([start]))


def test_samples_carry_a_recurrent_state_through_blocks(zipped: Zip) -> None:
    prepared = Prepared(zipped("RecurrentPPO"))
    (rollout, _) = gathered(prepared)
    inputs = rollout.episodes[0].inputs
    assert inputs.episode_start is not None
    assert inputs.episode_start.tolist() == [True] + [False] * (len(inputs) - 1)
    following = prepared.oracle.act(inputs).state
    for name, state in inputs.state.items():
        assert state[1:] == pytest.approx(following[name][:-1], abs=1e-6)


def test_samples_are_of_the_space_and_differ_between_modes(zipped: Zip) -> None:
    prepared = Prepared(zipped())
    greedy, sampled = gathered(prepared, 0)
    assert greedy.steps >= 300
    assert greedy.mean_return is None
    space = prepared.setting.observation_space
    rows = [row for e in examined_episodes([greedy, sampled]) for row in e.inputs.observations["obs"]]
    assert all(space.contains(row) for row in rows)
    assert len(np.unique(np.stack(rows), axis=0)) == len(rows)


def test_an_environment_that_fails_is_named_so(zipped: Zip, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = Prepared(zipped(), **world())

    def fail(self: World, action: Any) -> Any:
        raise RuntimeError("the motor\nburnt")

    monkeypatch.setattr(World, "step", fail)
    with pytest.raises(SteersmanError, match="while the policy played: RuntimeError: the motor burnt"):
        played(prepared)
