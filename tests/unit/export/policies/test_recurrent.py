"""RecurrentPPO: single steps and whole sequences against SB3, with episodes that begin in mid-batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sb3_contrib import RecurrentPPO

from steersman.export.errors import UnsupportedError
from steersman.export.policies.families import family_of
from steersman.export.policies.inputs import Inputs
from unit.export.policies.made import (
    ACTIONS,
    OBSERVATIONS,
    Made,
    assert_alone,
    assert_same,
    make,
    sample,
    untrained,
)

CRITICS: dict[str, dict[str, Any]] = {
    "own LSTM": {},
    "shared LSTM": {"shared_lstm": True, "enable_critic_lstm": False},
    "plain critic": {"enable_critic_lstm": False},
    "plain critic of its own features": {"enable_critic_lstm": False, "share_features_extractor": False},
}
NAMES = {"flat": "MlpLstmPolicy", "image": "CnnLstmPolicy", "camera and speed": "MultiInputLstmPolicy"}


def recurrent(observation: str = "flat", action: str = "ragged", **kwargs: Any) -> Made:
    kwargs = {"lstm_hidden_size": 11, "net_arch": [9], **kwargs}
    saved = untrained(
        RecurrentPPO, OBSERVATIONS[observation](), ACTIONS[action](), NAMES[observation], **kwargs
    )
    return make(saved)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("critic", CRITICS)
def test_every_form_of_memory(critic: str, layers: int) -> None:
    made = recurrent(n_lstm_layers=layers, **CRITICS[critic])
    assert ("value" in made.contract.outputs) == (critic != "own LSTM")
    assert made.contract.state[0].shape == (layers, 11)
    assert_same(made, made.inputs(500))
    assert_alone(made, made.inputs())


@pytest.mark.parametrize("action", ["shifted", "switches", "arm", "precise"])
def test_every_kind_of_action(action: str) -> None:
    made = recurrent(action=action)
    assert_same(made, made.inputs(500))
    assert_alone(made, made.inputs())


@pytest.mark.parametrize("observation", ["image", "camera and speed"])
def test_images_and_dictionaries(observation: str) -> None:
    made = recurrent(observation, "five")
    assert_same(made, made.inputs(100))
    assert_alone(made, made.inputs(23))


def test_gsde_and_an_lstm_without_biases() -> None:
    made = recurrent(action="arm", use_sde=True, lstm_kwargs={"bias": False})
    assert_same(made, made.inputs(500))
    assert_alone(made, made.inputs())


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("action", ["five", "arm"])
def test_a_long_sequence_stays_with_sb3(action: str, layers: int) -> None:
    """200 steps of 7 episodes at once; each row begins anew at steps of its own."""
    made, rng = recurrent(action=action, n_lstm_layers=layers), np.random.default_rng(5)
    rows = 7
    state = {spec.name: np.zeros((rows, *spec.shape), np.float32) for spec in made.contract.state}
    theirs: Any = None
    for step in range(200):
        start = rng.random(rows) < 0.03 if step else np.ones(rows, np.bool_)
        observations = sample(made.policy.observation_space, rows, step)
        expected, theirs = made.policy.predict(observations["obs"], theirs, start, deterministic=True)
        feeds = made.session.feeds(observations, state=state, episode_start=start)
        action_, h, c = made.session.run(("action", "next_state/h", "next_state/c"), feeds)
        state = {"h": h, "c": c}
        np.testing.assert_allclose(action_, expected, atol=1e-5)
        np.testing.assert_allclose(h.swapaxes(0, 1), theirs[0], atol=1e-5)


def test_rows_that_begin_forget_whatever_they_held() -> None:
    made = recurrent()
    inputs = made.inputs(6)
    zero = {name: np.zeros_like(array) for name, array in inputs.state.items()}
    broken = {name: np.full_like(array, np.nan) for name, array in inputs.state.items()}
    begin = np.ones(6, np.bool_)
    fresh = Inputs(inputs.observations, inputs.action_mask, inputs.noise, zero, ~begin)
    held = Inputs(inputs.observations, inputs.action_mask, inputs.noise, broken, begin)
    for name, array in made.run(fresh).items():
        assert array.tobytes() == made.run(held)[name].tobytes()


def test_an_lstm_that_sb3_cannot_run_by_rows_is_refused() -> None:
    saved = untrained(
        RecurrentPPO,
        OBSERVATIONS["flat"](),
        ACTIONS["five"](),
        "MlpLstmPolicy",
        lstm_kwargs={"batch_first": True},
    )
    with pytest.raises(UnsupportedError, match="batch_first"):
        family_of(saved)
