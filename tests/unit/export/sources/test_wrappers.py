"""Wrappers outside the model: baked, declared, harmless, or refused by name; never ignored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import FlattenObservation, RescaleAction
from sb3_contrib.common.wrappers import TimeFeatureWrapper
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    VecEnv,
    VecFrameStack,
    VecNormalize,
    VecTransposeImage,
)

from steersman.bundle.errors import SteersmanError
from steersman.export.observations import from_sb3
from steersman.export.policies.family import Acted
from steersman.export.settings import NamedWrapper
from steersman.export.sources.wrapping.wrappers import resolve
from unit.export.sources.conftest import Zip
from unit.export.sources.worlds import WORLD, Prepared, save, world


def vector_env(wrap: Callable[[Any], Any] = lambda env: env, **kwargs: Any) -> DummyVecEnv:
    return DummyVecEnv([lambda: wrap(gymnasium.make(WORLD, **kwargs))])


def learnt(envs: VecEnv, folder: Path, policy: str = "MlpPolicy") -> Path:
    """The zip of a model for these; with statistics beside it where they are normalized."""
    model = PPO(policy, envs, n_steps=32, batch_size=32, n_epochs=1, device="cpu")
    model.learn(64)
    if (normalize := model.get_vec_normalize_env()) is not None:
        normalize.training = False
        normalize.save(str(folder / "statistics.pkl"))
    return save(model, folder)


def assert_callers_see_what_training_saw(prepared: Prepared, envs: VecEnv) -> None:
    """Prepared observations of the export are those of SB3's own environments, step by step, bit for bit."""
    assert prepared.setting.stage is not None
    shape = prepared.saved.action_space.shape
    envs.seed(7)
    expected = envs.reset()
    with prepared.setting.stage.open(1) as copies:
        copies.restart(7)
        for step in range(30):
            inputs = copies.look(np.arange(1))
            prepared_rows = from_sb3(prepared.setting.preparation(inputs.observations))
            for name, array in from_sb3(expected).items():
                assert prepared_rows[name].dtype == array.dtype
                assert (prepared_rows[name] == array).all(), (name, step)
            action = np.full((1, *(shape or ())), 0.1 * (step % 3) if shape else step % 3)
            expected = envs.step(action.astype(prepared.saved.action_space.dtype))[0]
            copies.step(np.arange(1), Acted(action.astype(prepared.saved.action_space.dtype)))


def named(text: str) -> NamedWrapper:
    return NamedWrapper.model_validate(text)


@pytest.mark.parametrize("observation", ["vector", "image", "mixed"])
def test_a_frame_stack_is_declared_and_played(observation: str, tmp_path: Path) -> None:
    envs: VecEnv = VecFrameStack(vector_env(observation=observation), 3)
    if observation != "vector":
        envs = VecTransposeImage(envs)
    policies = {"vector": "MlpPolicy", "image": "CnnPolicy", "mixed": "MultiInputPolicy"}
    file = learnt(envs, tmp_path, policies[observation])
    prepared = Prepared(
        file, wrapper=(named('frame_stack:{"frames": 3}'),), **world(observation=observation, length=9)
    )
    (spec,) = prepared.contract.wrappers
    assert (spec.name, spec.arguments) == ("frame_stack", {"frames": 3})
    assert "last 3 observations" in spec.instruction
    again: VecEnv = VecFrameStack(vector_env(observation=observation, length=9), 3)
    assert_callers_see_what_training_saw(
        prepared, again if observation == "vector" else VecTransposeImage(again)
    )


def test_bounds_of_stacked_frames_are_where_the_frames_are(tmp_path: Path) -> None:
    """SB3 itself mixes them up, in what it saves."""
    file = learnt(VecFrameStack(vector_env(), 2), tmp_path)
    for known in (world(), {}):
        prepared = Prepared(file, wrapper=(named('frame_stack:{"frames": 2}'),), **known)
        assert prepared.contract.observations[0].high == (2, 5, 9, 2, 5, 9)


def test_frames_that_were_normalized_before_they_were_stacked(tmp_path: Path) -> None:
    def envs() -> VecEnv:
        return vector_env(length=9)

    file = learnt(VecFrameStack(VecNormalize(envs(), norm_reward=False), 4), tmp_path)
    statistics = tmp_path / "statistics.pkl"
    stack = {"wrapper": (named('frame_stack:{"frames": 4}'),), "vecnormalize": statistics}
    prepared = Prepared(file, **stack, **world(length=9))
    loaded = VecNormalize.load(str(statistics), envs())
    loaded.training = False
    assert_callers_see_what_training_saw(prepared, VecFrameStack(loaded, 4))
    (spec,) = prepared.contract.wrappers
    assert np.asarray(spec.arguments["fill"]["obs"]) == pytest.approx(loaded.obs_rms.mean)  # type: ignore[index, call-overload, attr-defined]
    assert prepared.contract.observations[0].dtype == "float64"
    assert Prepared(file, **stack).contract == prepared.contract


def test_frames_that_were_stacked_before_they_were_normalized(tmp_path: Path) -> None:
    file = learnt(VecNormalize(VecFrameStack(vector_env(), 2), norm_reward=False), tmp_path)
    statistics = tmp_path / "statistics.pkl"
    prepared = Prepared(
        file, wrapper=(named('frame_stack:{"frames": 2}'),), vecnormalize=statistics, **world(length=9)
    )
    loaded = VecNormalize.load(str(statistics), VecFrameStack(vector_env(length=9), 2))
    loaded.training = False
    assert_callers_see_what_training_saw(prepared, loaded)
    assert prepared.contract.wrappers[0].arguments == {"frames": 2}


@pytest.mark.filterwarnings("ignore:.*not within the observation space")  # the wrapper changes it in place
@pytest.mark.parametrize("observation", ["vector", "goal"])
def test_a_time_feature_follows_the_environment_s_own_limit(observation: str, tmp_path: Path) -> None:
    policy = "MlpPolicy" if observation == "vector" else "MultiInputPolicy"
    file = learnt(vector_env(TimeFeatureWrapper, observation=observation), tmp_path, policy)
    prepared = Prepared(file, wrapper=(named("time_feature"),), **world(observation=observation))
    assert prepared.contract.wrappers[0].arguments == {"max_steps": 400, "test_mode": False}
    assert_callers_see_what_training_saw(prepared, vector_env(TimeFeatureWrapper, observation=observation))


@pytest.mark.filterwarnings("ignore:.*precision lowered")
@pytest.mark.parametrize(
    ("wrapper", "wrap", "kwargs"),
    [
        ("flatten_observation", FlattenObservation, {"observation": "grid"}),
        ("flatten_observation", FlattenObservation, {"observation": "goal"}),
        (
            'rescale_action:{"max_action": 1}',
            lambda env: RescaleAction(env, np.float32(-1), np.float32(1)),
            {"action": "push"},
        ),
    ],
)
def test_wrappers_of_gymnasium_are_declared_and_played(
    wrapper: str, wrap: Any, kwargs: dict[str, Any], tmp_path: Path
) -> None:
    file = learnt(vector_env(wrap, **kwargs), tmp_path)
    prepared = Prepared(file, wrapper=(named(wrapper),), **world(**kwargs))
    assert [spec.name for spec in prepared.contract.wrappers] == [wrapper.partition(":")[0]]
    assert_callers_see_what_training_saw(prepared, vector_env(wrap, **kwargs))


def played_with(wrapper: str, actions: list[Any], **kwargs: Any) -> tuple[Any, list[Any], list[Any]]:
    """The environment behind a wrapper, what it showed, and what it gave otherwise."""
    wrapping = resolve([named(wrapper)], [], "here")
    env = wrapping(gymnasium.make(WORLD, disable_env_checker=True, **kwargs))
    shown = [env.reset(seed=3)[0]]
    rest = []
    for action in actions:
        observation, *more = env.step(action)
        shown.append(observation)
        rest.append(more)
    return env, shown, rest


def test_history_is_observations_then_actions_oldest_first() -> None:
    push = [np.array([0.5 * i, -0.5 * i], np.float32) for i in range(3)]
    _, plain, _ = played_with('time_limit:{"max_episode_steps": 99}', push, action="push")
    env, shown, _ = played_with('history:{"horizon": 2}', push, action="push")
    zero, none = np.zeros(3), np.zeros(2)
    assert shown[0] == pytest.approx(np.concatenate([zero, plain[0], none, none]))
    assert shown[1] == pytest.approx(np.concatenate([plain[0], plain[1], none, push[0]]))
    assert shown[3] == pytest.approx(np.concatenate([plain[2], plain[3], push[1], push[2]]))
    assert env.observation_space.contains(shown[3])
    assert env.reset()[0][-4:].tolist() == [0] * 4


def test_history_of_a_dict_is_under_its_observation() -> None:
    push = [np.array([1, 1], np.float32)]
    env, shown, _ = played_with(
        "rl_zoo3.wrappers.HistoryWrapperObsDict", push, observation="goal", action="push"
    )
    assert shown[1]["observation"].shape == (2 * 3 + 2 * 2,)
    assert shown[1]["desired_goal"].shape == (3,)
    assert env.observation_space.contains(shown[1])


def test_skipped_frames_repeat_the_action_and_add_up_rewards() -> None:
    env, _, rest = played_with('frame_skip:{"skip": 5}', [1, 2])
    _, _, every = played_with('time_limit:{"max_episode_steps": 99}', [1] * 5 + [2] * 5)
    assert env.unwrapped.taken == [1] * 5 + [2] * 5
    assert [reward for reward, *_ in rest] == pytest.approx(
        [sum(reward for reward, *_ in every[:5]), sum(reward for reward, *_ in every[5:])]
    )
    short, _, rest = played_with('frame_skip:{"skip": 500}', [1])
    assert rest[0][1]
    assert len(short.unwrapped.taken) <= 16


def test_smoothed_actions_are_a_moving_average_from_zero() -> None:
    push = np.array([1, -1], np.float32)
    env, _, _ = played_with('action_smoothing:{"smoothing_coef": 0.5}', [push] * 3, action="push")
    assert np.stack(env.unwrapped.taken)[:, 0] == pytest.approx([0.5, 0.75, 0.875])


def test_the_velocity_mask_is_baked(zipped: Zip) -> None:
    prepared = Prepared(zipped(), wrapper=(named('velocity_mask:{"indices": [1]}'),), **world())
    assert prepared.contract.wrappers == ()
    assert prepared.setting.wrapping.baked == ("velocity_mask",)
    rows = np.ones((2, 3), np.float32)
    assert prepared.setting.preparation({"obs": rows}).tolist() == [[1, 0, 1]] * 2


def test_the_velocities_of_the_zoo_s_environments_are_known(tmp_path: Path) -> None:
    file = save(PPO("MlpPolicy", "CartPole-v1", device="cpu"), tmp_path)
    prepared = Prepared(file, wrapper=(named("rl_zoo3.wrappers.MaskVelocityWrapper"),), env_id="CartPole-v1")
    keep = prepared.setting.preparation.keep
    assert keep is not None
    assert keep.tolist() == [1, 0, 1, 0]


def test_stacked_frames_are_masked_each(tmp_path: Path) -> None:
    file = learnt(VecFrameStack(vector_env(), 2), tmp_path)
    both = named('velocity_mask:{"indices": [0, 2]}'), named('frame_stack:{"frames": 2}')
    keep = Prepared(file, wrapper=both, **world()).setting.preparation.keep
    assert keep is not None
    assert keep.tolist() == [0, 1, 0, 0, 1, 0]


@pytest.mark.parametrize(
    "wrapper",
    [
        "stable_baselines3.common.monitor.Monitor",
        "rl_zoo3.wrappers.TruncatedOnSuccessWrapper",
        "utils.wrappers.DelayedRewardWrapper",
        'gym.wrappers.TimeLimit:{"max_episode_steps": 7}',
    ],
)
def test_harmless_wrappers_leave_the_contract_alone(zipped: Zip, wrapper: str) -> None:
    plain = Prepared(zipped(), **world())
    wrapped = Prepared(zipped(), wrapper=(named(wrapper),), **world())
    assert wrapped.contract == plain.contract
    assert wrapped.setting.stage is not None
    with wrapped.setting.stage.open(1) as copies:
        copies.look(np.arange(1))
        ended = [copies.step(np.arange(1), Acted(np.zeros(1, np.int64)))[1][0] for _ in range(7)]
    assert ended[-1] == ("TimeLimit" in wrapper)


@pytest.mark.parametrize(
    ("wrapper", "expected"),
    [
        ("my_robot.wrappers.Filter", "a wrapper my_robot.wrappers.Filter.*--declare-wrapper my_robot"),
        ("my_robot.FrameSkip", "a wrapper my_robot.FrameSkip"),
        ("gymnasium.wrappers.NormalizeObservation", "a wrapper gymnasium.wrappers.NormalizeObservation"),
        ("frame_stak", "a wrapper frame_stak.*Did you mean frame_stack?"),
        ("frame_stack", "frame_stack needs frames"),
        ('frame_stack:{"frames": "two"}', "frames is 'two'"),
        ('frame_stack:{"frames": 2}', r"shape \(3,\) are no 2 frames"),
        ('frame_skip:{"skips": 2}', "frame_skip has no argument skips; expected skip"),
        ("velocity_mask", "not known which elements are velocities"),
        ('velocity_mask:{"indices": [3]}', r"indices are \[3\]; expected numbers from 0 to 2"),
        ("time_feature", r"its observation space is Box.*\(4,\).*the policy's, Box.*\(3,\)"),
        ('frame_skip:{"skip": "x"}', "frame_skip takes a number as skip"),
    ],
)
def test_other_wrappers_are_refused(zipped: Zip, wrapper: str, expected: str) -> None:
    with pytest.raises(SteersmanError, match=expected) as caught:
        Prepared(zipped(), wrapper=(named(wrapper),), **world())
    assert "\n" not in str(caught.value)


def test_a_wrapper_that_the_user_declares_is_told_to_callers(zipped: Zip) -> None:
    declared = named('my_robot.wrappers.Filter:{"cutoff": 5}')
    prepared = Prepared(
        zipped(), wrapper=(named("my_robot.wrappers.Filter"),), declare_wrapper=(declared,), **world()
    )
    (spec,) = prepared.contract.wrappers
    assert (spec.name, spec.arguments) == ("my_robot.wrappers.Filter", {"cutoff": 5})
    assert prepared.setting.stage is None  # nobody here can apply it
    assert "only you can apply my_robot.wrappers.Filter" in prepared.setting.notes[0]
    assert Prepared(zipped(), declare_wrapper=(declared,)).contract.wrappers == (spec,)


def test_wrappers_are_read_from_text() -> None:
    assert named("history").arguments == {}
    assert named('a.b.C:{"x": [1, {"y": 2}]}').arguments == {"x": [1, {"y": 2}]}
    for wrong in ("history:{x}", "history:[1]", ""):
        with pytest.raises(ValueError, match=r"JSON object|dictionary|at least 1"):
            named(wrong)
    assert json.loads(named("x").model_dump_json()) == {"name": "x", "arguments": {}}
