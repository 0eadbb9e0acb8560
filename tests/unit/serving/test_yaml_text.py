"""YAML as deployments use it: mistakes are found where they are, and what is written is read as the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.bundle.errors import UsageError
from steersman.serving.rollout.deployment import parse_deployment
from steersman.serving.rollout.yaml_text import read_yaml, write_yaml

TEXTS = st.text(st.characters(blacklist_categories=["Cs"]), max_size=20)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS
DATA = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(DATA)
def test_what_is_written_is_read_as_the_same(data: object) -> None:
    assert read_yaml(write_yaml(data)) == data


@pytest.mark.parametrize(
    "word",
    ["off", "on", "y", "no", "null", "~", "1e3", "1:30", "0x10", "2024-01-01", "a: b", "#", "''", "*a"],
)
def test_words_that_yaml_takes_for_something_else_stay_words(word: str) -> None:
    assert read_yaml(write_yaml({word: [word]})) == {word: [word]}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "policy: toy\nlanes:\n  stable: {version: 3\nx: 1",
            "line 4, column 2: expected ',' or '}', but got ':'",
        ),
        ("policy: toy\n\tlanes: 1", "line 2, column 1: found character '\\t' that cannot start any token"),
        ("policy: toy: tow", "line 1, column 12: mapping values are not allowed here"),
        ("policy: &a x\nlabels: {x: *a}", "line 2, column 13: anchors and aliases are not understood here"),
        ("policy: toy\nsafety:\n  a: 1\n  a: 2", "line 4, column 3: the key 'a' is there twice"),
        (
            "policy: toy\nlabels: {x: 2024-13-45}",
            "line 2, column 13: a value is not of the kind that it looks like",
        ),
    ],
)
def test_a_mistake_is_one_line_with_line_and_column(text: str, line: str) -> None:
    with pytest.raises(UsageError) as wrong:
        parse_deployment(text, where="toy.yaml")
    assert str(wrong.value) == f"toy.yaml: not YAML: {line}"
