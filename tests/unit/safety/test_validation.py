from typing import Annotated, Literal

import pytest
from pydantic import Field, RootModel

from steersman.bundle.validation import Settings, SettingsError, close_match, field_path, validated


class Leaf(Settings):
    """A leaf."""

    colour: Literal["red", "green"] = "red"
    size: Annotated[int, Field(ge=1)] = 1


class Square(Settings):
    """One of two shapes."""

    kind: Literal["square"]
    side: float


class Circle(Settings):
    """The other shape."""

    kind: Literal["circle"]
    radius: float


class Leaves(RootModel[tuple[Leaf, ...]]):
    """A list of leaves."""


class Tree(Settings):
    """A tree of settings."""

    leaves: Leaves = Leaves(())
    named: dict[str, Leaf] = {}
    shape: Annotated[Square | Circle, Field(discriminator="kind")] | None = None
    height: float | None = None
    size: Literal["any"] | Annotated[int, Field(ge=1)] = 1


def line_of(data):
    with pytest.raises(SettingsError) as error:
        validated(Tree, data, where="tree.yaml")
    assert error.value.exit_code == 2
    return str(error.value).removeprefix("tree.yaml: ")


def test_settings_that_fit_are_returned():
    tree = validated(Tree, {"leaves": [{"size": 3}], "shape": {"kind": "circle", "radius": 1}}, where="x")
    assert (tree.leaves.root[0].size, tree.shape) == (3, Circle(kind="circle", radius=1.0))


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (
            {"leafs": []},
            "leafs: unknown field; expected one of height, leaves, named, shape, size. Did you mean leaves?",
        ),
        (
            {"leaves": [{}, {"color": "red"}]},
            "leaves[1].color: unknown field; expected one of colour, size. Did you mean colour?",
        ),
        (
            {"named": {"oak": {"colour": "gren"}}},
            "named.oak.colour: got 'gren'; expected 'red' or 'green'. Did you mean green?",
        ),
        ({"named": {"oak": {"colour": 3}}}, "named.oak.colour: got 3; expected 'red' or 'green'"),
        (
            {"named": {"oak": {"siez": 3}}},
            "named.oak.siez: unknown field; expected one of colour, size. Did you mean size?",
        ),
        ({"leaves": [{"size": 0}]}, "leaves[0].size: got 0; expected greater than or equal to 1"),
        ({"leaves": [{"size": "big"}]}, "leaves[0].size: got 'big'; expected a valid integer"),
        ({"leaves": {}}, "leaves: got {}; expected a list"),
        ({"named": []}, "named: got []; expected a mapping"),
        ({"named": {"oak": 3}}, "named.oak: got 3; expected a mapping"),
        (
            {"shape": {"kind": "cirle"}},
            "shape.kind: got 'cirle'; expected 'square' or 'circle'. Did you mean circle?",
        ),
        ({"shape": {}}, "shape.kind: missing field"),
        ({"shape": {"kind": "square"}}, "shape.side: missing field"),
        (
            {"shape": {"kind": "square", "sied": 1, "side": 1}},
            "shape.sied: unknown field; expected one of kind, side. Did you mean side?",
        ),
        ({"height": [0] * 90}, f"height: got [{'0, ' * 25}0...; expected a valid number"),
        ({"height": float("inf")}, "height: got inf; expected a finite number"),
        (
            {"height": "tall", "leaves": 3, "x": 1},
            (
                "x: unknown field; expected one of height, leaves, named, shape, size. "
                "Also wrong: leaves: got 3, expected a list; height: got 'tall', expected a valid number."
            ),
        ),
        (
            {"shape": {"kind": "square", "sied": 1}},
            "shape.sied: unknown field; expected one of kind, side. Did you mean side?",
        ),
        (
            {"shape": {"kind": "square", "angle": 1}},
            "shape.angle: unknown field; expected one of kind, side. Also wrong: shape.side: missing field.",
        ),
        ({"size": [3]}, "size: got [3]; expected 'any' or a valid integer"),
        (
            {"named": {f"n{i}": {"siez": 1} for i in range(11)}},
            "named.n0.siez: unknown field; expected one of colour, size. Did you mean size? Also wrong: "
            + "; ".join(
                f"named.n{i}.siez: unknown field, expected one of colour, size (Did you mean size?)"
                for i in range(1, 9)
            )
            + "; and 2 more.",
        ),
        (None, "got None; expected a mapping"),
    ],
)
def test_each_mistake_is_one_line_that_names_the_field(data, line):
    assert line_of(data) == line


def test_paths_read_as_people_write_them():
    assert field_path(("fallback", 0, "rules", 2, "when")) == "fallback[0].rules[2].when"
    assert field_path(()) == ""


def test_close_matches_ignore_case_and_name_all_that_are_close():
    known = ("CartPole-v1", "CartPole-v0", "Pendulum-v1")
    assert close_match("cartpole-v1", known) == "Did you mean CartPole-v1 or CartPole-v0?"
    assert close_match("nothing like it", known) is None
