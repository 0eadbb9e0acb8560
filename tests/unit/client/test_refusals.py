"""What cannot be right is refused before it is sent, with what was expected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from steersman.client import EpisodeState, InvalidRequestError
from steersman.v1 import policy_pb2 as pb
from unit.client.conftest import Kit

GOOD = [0.0, 0.0, 0.0, 0.0]
ARM = {"pose": [0, 0], "gear": 1}

ACT: list[tuple[str, Any, dict[str, Any], str, str]] = [
    ("gate", [0, 0, 0], {}, "observation_shape", r"shape \[3\]; 'gate' expects \[4\] float32"),
    ("gate", [GOOD], {}, "observation_shape", r"shape \[1, 4\].*act_batch takes several rows"),
    ("gate", 1.0, {}, "observation_shape", r"shape \[\]"),
    ("gate", "up", {}, "dtype", "observation holds <U2; expected float32"),
    ("gate", [[1], [1, 2]], {}, "dtype", "not an array of numbers"),
    ("gate", ARM, {}, "observation_keys", "mapping of gear, pose; 'gate' expects one array"),
    ("arm", GOOD, {}, "observation_keys", "one array; 'arm' expects a mapping with the keys gear, pose"),
    ("arm", {"pose": [0, 0]}, {}, "observation_keys", "keys pose; 'arm' expects .* gear, pose"),
    ("arm", {**ARM, "mood": 1}, {}, "observation_keys", "keys gear, mood, pose"),
    ("arm", {**ARM, "pose": [0]}, {}, "observation_shape", r"observation\['pose'\] has shape \[1\]"),
    ("arm", {**ARM, "gear": float("nan")}, {}, "dtype", r"observation\['gear'\] holds nan, which int64"),
    (
        "memory",
        [[0, 256], [0, 0]],
        {},
        "dtype",
        "256, which uint8 cannot hold; expected whole numbers from 0 to 255",
    ),
    ("gate", GOOD, {"action_mask": [1, 1]}, "action_mask_shape", r"shape \[2\]; 'gate' expects \[3\].*\(3\)"),
    (
        "memory",
        np.zeros((2, 2)),
        {"action_mask": [1] * 4},
        "action_mask_shape",
        r"one entry per choice \(2 \+ 3\)",
    ),
    ("gate", GOOD, {"action_mask": [0, 1, 2]}, "dtype", "action mask holds 2, which bool cannot hold"),
    ("arm", ARM, {"action_mask": [1, 1]}, "action_mask_not_applicable", "continuous"),
    ("gate", GOOD, {"mode": "best"}, "mode", "'best'; expected one of greedy, sampled"),
    (
        "gate",
        GOOD,
        {"evidence": ["mood"]},
        "evidence",
        "'mood'; expected any of value, entropy, distribution",
    ),
    ("gate", GOOD, {"timeout": 0}, "timeout", "timeout is 0; expected seconds above 0"),
]
BATCH: list[tuple[str, Any, dict[str, Any], str, str]] = [
    ("gate", GOOD, {}, "observation_shape", r"shape \[4\]; 'gate' expects \[rows, 4\].*act takes one row"),
    ("gate", 1.0, {}, "observation_shape", r"shape \[\]"),
    ("gate", np.zeros((0, 4)), {}, "row_count", "no rows; expected at least 1"),
    (
        "arm",
        {"pose": np.zeros((2, 2)), "gear": [1, 2, 3]},
        {},
        "row_count",
        r"observation\['pose'\] 2, observation\['gear'\] 3",
    ),
    (
        "arm",
        {"pose": np.zeros((2, 2)), "gear": 1},
        {},
        "observation_shape",
        r"observation\['gear'\] has shape \[\]",
    ),
    ("gate", [GOOD] * 2, {"action_masks": [[1] * 3] * 3}, "action_mask_shape", r"\[3\] or \[2, 3\]"),
    ("gate", [GOOD] * 2, {"episode_ids": ["a"]}, "episode_ids", "1 entries; expected 2, one per row"),
    ("gate", [GOOD] * 2, {"episode_ids": "ab"}, "episode_ids", "one name; expected 2"),
    ("gate", [GOOD] * 2, {"episode_ids": ["a", EpisodeState("b")]}, "episode_ids", "mixes names and states"),
]


def check(kit: Kit, call: Any, reason: str, words: str) -> None:
    """The call is refused, and nothing was decided."""
    with pytest.raises(InvalidRequestError, match=words) as refused:
        kit.wait(call())
    assert refused.value.reason == reason
    assert not refused.value.retryable
    assert not kit.toy.of(pb.ActRequest)


@pytest.mark.parametrize(("policy", "observation", "options", "reason", "words"), ACT)
def test_act_refuses(kit: Kit, policy: str, observation: Any, options: Any, reason: str, words: str) -> None:
    check(kit, lambda: kit.client.act(policy, observation, **options), reason, words)


@pytest.mark.parametrize(("policy", "rows", "options", "reason", "words"), BATCH)
def test_act_batch_refuses(kit: Kit, policy: str, rows: Any, options: Any, reason: str, words: str) -> None:
    check(kit, lambda: kit.client.act_batch(policy, rows, **options), reason, words)


def test_an_outcome_is_refused_too(kit: Kit) -> None:
    from steersman.client import Outcome

    end: Any = "bored"
    check(
        kit,
        lambda: kit.client.report(Outcome(policy="gate", episode_end=end)),
        "episode_end",
        "terminated, truncated",
    )
    outcome = Outcome(policy="arm", episode_id="e", action_taken=[1, 2, 3])
    check(kit, lambda: kit.client.report(outcome), "action_shape", r"shape \[3\]; expected \[2\]")
