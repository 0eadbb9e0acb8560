"""Hyperparameters as plain data: the same names and defaults as SB3, read from text."""

from __future__ import annotations

import contextlib
import inspect
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3 import A2C, PPO

from steersman.training.defaults import TUNED
from steersman.training.errors import TrainingUsageError
from steersman.training.hyperparameters import as_written, check_hyperparameters, linear_start
from steersman.training.pairs import parse_pairs
from steersman.training.vocabulary import Algorithm

SB3 = {Algorithm.PPO: PPO, Algorithm.A2C: A2C}
NOT_OURS = {
    "policy",
    "env",
    "rollout_buffer_class",
    "rollout_buffer_kwargs",
    "tensorboard_log",
    "verbose",
    "seed",
    "device",
    "_init_setup_model",
}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("algo", Algorithm)
def test_names_and_defaults_are_those_of_sb3(algo: Algorithm) -> None:
    theirs = {
        name: parameter.default
        for name, parameter in inspect.signature(SB3[algo]).parameters.items()
        if name not in NOT_OURS
    }
    ours = check_hyperparameters(algo, {})
    assert dict(ours) == theirs


@pytest.mark.parametrize(("algo", "env_id"), TUNED)
def test_every_tuned_row_is_valid_and_recorded_as_written(algo: Algorithm, env_id: str) -> None:
    tuned = TUNED[algo, env_id].hyperparameters
    written = as_written(check_hyperparameters(algo, tuned))
    assert tuned.items() <= written.items()
    assert json.loads(json.dumps(written)) == written


@given(st.dictionaries(st.from_regex(r"[a-z_]+", fullmatch=True), json_values, max_size=4))
def test_what_is_written_as_json_is_read_back(values: dict[str, object]) -> None:
    texts = [f"{key}={json.dumps(value)}" for key, value in values.items()]
    assert parse_pairs(texts, "--env-kwargs") == values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1_000", 1000),
        ("None", None),
        ("True", True),
        ("(64, 64)", [64, 64]),
        ("lin_0.001", "lin_0.001"),
        ("a=b", "a=b"),
    ],
)
def test_python_literals_and_bare_words_are_read_too(text: str, value: object) -> None:
    assert parse_pairs([f"key={text}"], "--env-kwargs") == {"key": value}


@given(st.floats(min_value=1e-12, max_value=1e6))
def test_a_linear_schedule_starts_where_it_says(start: float) -> None:
    assert linear_start(f"lin_{start}") == start
    assert check_hyperparameters(Algorithm.PPO, {"clip_range": f"lin_{start}"}).clip_range == f"lin_{start}"


@given(st.text())
def test_no_text_makes_the_check_fail_in_another_way(text: str) -> None:
    with contextlib.suppress(TrainingUsageError):
        check_hyperparameters(Algorithm.PPO, {"learning_rate": text})
