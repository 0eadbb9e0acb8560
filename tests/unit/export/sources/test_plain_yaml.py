"""YAML with Python's tags: data as it was written, and limits on what a small file may stand for."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from steersman.bundle.errors import SteersmanError
from steersman.export.sources.runs.plain_yaml import read_yaml


class EnvironmentName(str):
    """As `huggingface_sb3` has one; PyYAML writes its module's name."""

    __slots__ = ()


def test_python_s_own_tags_are_data(tmp_path: Path) -> None:
    content = OrderedDict(
        algo="ppo",
        env=EnvironmentName("Pendulum-v1"),
        shape=(84, 84),
        kind=OrderedDict,
        one=OrderedDict(x=1),
        none=OrderedDict(),
    )
    (tmp_path / "args.yml").write_text(yaml.dump(content))
    read = read_yaml(tmp_path / "args.yml")
    assert read["env"] == "Pendulum-v1"
    assert read["shape"] == [84, 84]
    assert read["kind"] == "collections.OrderedDict"
    assert (read["one"], read["none"]) == ({"x": 1}, {})


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), PLAIN))
def test_what_the_zoo_writes_is_read_as_it_was(content: dict[str, Any]) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "config.yml"
        file.write_text(yaml.dump(OrderedDict(content)), encoding="utf-8")
        assert read_yaml(file) == content


TENFOLD = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 11)
)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (TENFOLD, "an alias repeats more than 100 values"),
        ("a: &a [*a]", "an alias repeats more than 100 values"),
        ("a: &a !!python/tuple [[*a]]", "an alias repeats more than 100 values"),
        ("a: &a " + "x" * 90 + "\nb: [" + "*a, " * 10_000 + "]", "more than 10,000 values"),
        ("a: &a " + "x" * 20_000 + "\nb: [*a, *a]", "an alias repeats more than 100 values"),
        ("a: " + "[" * 5_000, "nested more than 30 deep"),
        ("a: '" + "x" * 300_000 + "'", "larger than 262,144 bytes"),
        ("a: !!timestamp x", ""),
        ("a: !!int ''", ""),
    ],
)
def test_small_files_that_stand_for_much_are_refused(tmp_path: Path, content: str, expected: str) -> None:
    file = tmp_path / "config.yml"
    file.write_text(content)
    with pytest.raises(SteersmanError, match=f"it cannot be read: .*{expected}") as caught:
        read_yaml(file)
    assert "\n" not in str(caught.value)


def test_a_tagged_text_is_not_read_as_yaml_again(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text(f"a: !!python/int '{'[' * 5_000}'\nb: !!python/int '3'")
    assert read_yaml(tmp_path / "config.yml") == {"a": "[" * 5_000, "b": 3}


def test_what_is_shared_on_a_small_scale_is_read(tmp_path: Path) -> None:
    shared = {"net_arch": [64, 64]}
    (tmp_path / "config.yml").write_text(yaml.dump({"one": shared, "two": shared}))
    assert read_yaml(tmp_path / "config.yml") == {"one": shared, "two": shared}
