"""RecurrentPPO: single steps and whole sequences against SB3, with episodes that begin in mid-batch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sb3_contrib import RecurrentPPO

from steersman.export.errors import UnsupportedError
from steersman.export.policies.families import family_of
from unit.export.policies.cases import Case, assert_case, each, made_of, named, unmasked
from unit.export.policies.made import ACTIONS, OBSERVATIONS, sample, untrained

CRITICS: dict[str, dict[str, Any]] = {
    "own LSTM": {},
    "shared LSTM": {"shared_lstm": True, "enable_critic_lstm": False},
    "plain critic": {"enable_critic_lstm": False},
    "plain critic of its own features": {"enable_critic_lstm": False, "share_features_extractor": False},
}
POLICIES = {"image": "CnnLstmPolicy", "camera and speed": "MultiInputLstmPolicy"}


def recurrent(
    name: str, observation: str = "flat", action: str = "ragged", *, exported: bool = False, **kwargs: Any
) -> Case:
    """A small network with memory."""
    kwargs = {"lstm_hidden_size": 11, "net_arch": [9], **kwargs}
    policy = POLICIES.get(observation, "MlpLstmPolicy")
    return Case(name, RecurrentPPO, observation, action, policy, kwargs, exported)


MEMORIES = tuple(
    recurrent(
        f"{critic}, {layers}",
        n_lstm_layers=layers,
        exported=layers == 2 and critic in {"shared LSTM", "plain critic of its own features"},
        **kwargs,
    )
    for critic, kwargs in CRITICS.items()
    for layers in (1, 2)
)
ACTED = tuple(recurrent(action, action=action) for action in ("shifted", "switches", "precise"))
OTHERS = (
    recurrent("images", "image", "five"),
    recurrent("dictionaries", "camera and speed", "five"),
    recurrent("gSDE, no biases", action="arm", use_sde=True, lstm_kwargs={"bias": False}, exported=True),
)
SEQUENCES = (
    *(recurrent(f"choices, {layers}", action="five", n_lstm_layers=layers) for layers in (1, 2)),
    recurrent("boxes, 1", action="arm", exported=True),
    recurrent("boxes, 2", action="arm", n_lstm_layers=2),
)


@each((*MEMORIES, *ACTED, *OTHERS))
def test_outputs_are_those_of_sb3(case: Case) -> None:
    assert_case(case)


@each(MEMORIES)
def test_the_contract_has_the_state_and_a_value_where_it_follows_from_it(case: Case) -> None:
    contract = made_of(case).contract
    assert ("value" in contract.outputs) == ("own LSTM" not in case.name)
    assert contract.state[0].shape == (case.policy_kwargs["n_lstm_layers"], 11)


@each(SEQUENCES)
def test_a_long_sequence_stays_with_sb3(case: Case) -> None:
    """200 steps of 7 episodes at once; each row begins anew at steps of its own."""
    made, rng, rows = made_of(case), np.random.default_rng(5), 7
    inputs, theirs = unmasked(made, rows), None
    state = {spec.name: np.zeros((rows, *spec.shape), np.float32) for spec in made.contract.state}
    for step in range(200):
        start = rng.random(rows) < 0.03 if step else np.ones(rows, np.bool_)
        observations = sample(made.policy.observation_space, rows, step)
        expected, theirs = made.policy.predict(observations["obs"], theirs, start, deterministic=True)
        asked = replace(inputs, observations=observations, state=state, episode_start=start)
        found = made.run(asked) if case.exported else made.compute(asked)
        state = {name: found[f"next_state/{name}"] for name in state}
        np.testing.assert_allclose(found["action"], expected, atol=1e-5)
        np.testing.assert_allclose(state["h"].swapaxes(0, 1), theirs[0], atol=1e-5)


def test_rows_that_begin_forget_whatever_they_held() -> None:
    made = named(MEMORIES, "shared LSTM, 2")
    inputs = made.inputs(6)
    zero = {name: np.zeros_like(array) for name, array in inputs.state.items()}
    broken = {name: np.full_like(array, np.nan) for name, array in inputs.state.items()}
    begin = np.ones(6, np.bool_)
    held = made.run(replace(inputs, state=broken, episode_start=begin))
    for name, array in made.run(replace(inputs, state=zero, episode_start=~begin)).items():
        assert array.tobytes() == held[name].tobytes()


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
