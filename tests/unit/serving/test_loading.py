"""Loading: what a bundle must pass on this host before it may answer."""

from __future__ import annotations

from pathlib import Path

from steersman.serving.errors import CallError, Code
from support.toy_bundle import WEIGHTS, publish_toy
from unit.serving.conftest import Kit, make_call


def test_an_int8_that_cannot_be_loaded_is_dropped_and_fp32_serves(tmp_path: Path) -> None:
    publish_toy(tmp_path / "bundles", int8=b"no graph at all")
    made = Kit(tmp_path, [])
    loaded = made.engine.routing.ready("toy").stable.loaded
    assert loaded.variant == "fp32"
    assert "int8" in loaded.dropped
    (decisions,) = made.engine.decide([make_call([[1, 3, 2, 0]])])
    assert decisions.actions.tolist() == [1]


def test_an_int8_that_answers_otherwise_than_recorded_is_dropped(tmp_path: Path) -> None:
    other = publish_toy(tmp_path / "other", weights=-WEIGHTS).read("policy.onnx")
    publish_toy(tmp_path / "bundles", int8=other)
    loaded = Kit(tmp_path, []).engine.routing.ready("toy").stable.loaded
    assert loaded.variant == "fp32"
    assert "recorded" in loaded.dropped["int8"]


def test_the_choice_between_variants_that_pass_is_remembered(tmp_path: Path) -> None:
    same = publish_toy(tmp_path / "other").read("policy.onnx")
    publish_toy(tmp_path / "bundles", int8=same)
    made = Kit(tmp_path, [])
    assert made.engine.routing.ready("toy").stable.loaded.dropped == {}
    assert (tmp_path / "precision.json").exists()


def test_no_other_lane_answers_for_a_stable_one_that_cannot_be_loaded(tmp_path: Path) -> None:
    publish_toy(tmp_path / "bundles", certified=-WEIGHTS)
    publish_toy(tmp_path / "bundles")
    lanes = {"stable": {"version": 1}, "canary": {"version": 2, "share": 0.01}}
    made = Kit(tmp_path, [{"policy": "toy", "lanes": lanes}])
    (error,) = made.engine.decide([make_call([[1, 3, 2, 0]])])
    assert isinstance(error, CallError)
    assert error.code is Code.UNAVAILABLE
    assert made.engine.routing.policy("toy").failures.keys() == {1}
