"""`steersman rules test` and `steersman check`, on files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import yaml

from support.toy_bundle import publish_toy
from unit.cli.conftest import Done, Steersman

Run = Callable[..., Done]

POLICY = """\
observation: [cart_position, cart_velocity, pole_angle, pole_angular_velocity]
action: {kind: discrete, n: 2, names: [left, right]}
"""
RULES = """\
rules:
  - name: right
    when: pole_angle + 0.5 * pole_angular_velocity > 0.0
    then: right
  - when: cart_position > 2.0 && pole_angle < 0.1
    then: left
default: left
"""
CASES = """\
defaults: {cart_position: 0, cart_velocity: 0, pole_angle: 0, pole_angular_velocity: 0}
cases:
  - {name: leans right, observation: {pole_angle: 0.25}, expect: {action: right, rule: right}}
  - {observation: {pole_angle: -0.2}, expect: {action: 0, rule: default, source: fallback}}
"""
DEPLOYMENT = """\
policy: cart
safety:
  guard: {ranges: {pole_angle: {low: -1.0, high: 1.0}}}
  constraints:
    - {name: wall, when: cart_position > 2.0, forbid: [right]}
  fallback:
    - {name: lean, rules: [{when: pole_angle > 0.0, then: right}]}
    - preference: [left, right]
"""
SAFETY_CASES = """\
name,cart_position,cart_velocity,pole_angle,pole_angular_velocity,policy,mask,expect.source,expect.action,expect.reason,expect.constraint,expect.member
a,0,0,0.1,0,right,,policy,right,none,none,none
b,3,0,0.1,0,right,,shield,left,constraint_violated,wall,none
c,3,0,0.1,0,,1 0,fallback,left,none,,preference
d,0,0,2.0,0,left,,fallback,right,observation_out_of_bounds,,lean
e,0,0,nan,0,left,1 0,fallback,left,observation_non_finite,,preference
f,0,0,0.1,0,left,0 1,fallback,right,action_masked,,lean
g,3,0,0.1,0,,0 1,none,,no_feasible_action,,none
h,0,0,0.1,0,left,0 0,none,,mask_all_false,,
"""
ROWS = """\
cart_position,cart_velocity,pole_angle,pole_angular_velocity,action,mask,episode,time_s
0,0,0.1,0,1,1 1,0,0.0
3,0,0.1,0,1,1 1,0,0.02
3,0,0.1,0,0,0 1,0,0.04
nan,0,0.1,0,0,1 1,1,0.04
0,0,0.5,0,0,1 1,1,0.06
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "cart.yaml": POLICY,
        "lean.yaml": RULES,
        "cases.yaml": CASES,
        "deployment.yaml": DEPLOYMENT,
        "cases.csv": SAFETY_CASES,
        "rows.csv": ROWS,
    }.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def rules(steersman: Steersman, files: Path) -> Run:
    """Runs `steersman rules test` on the cart."""
    del files

    def run(file: str = "lean.yaml", cases: str = "cases.yaml", *words: str) -> Done:
        return steersman("rules", "test", file, "--cases", cases, "--policy", "cart.yaml", *words)

    return run


@pytest.fixture
def check(steersman: Steersman, files: Path) -> Run:
    """Runs `steersman check` on the cart."""
    del files

    def run(*words: str) -> Done:
        return steersman("check", "deployment.yaml", "--policy", "cart.yaml", *words)

    return run


def edit(folder: Path, name: str, before: str, after: str) -> None:
    text = (folder / name).read_text()
    assert before in text
    (folder / name).write_text(text.replace(before, after))


def test_a_rule_file_is_run_on_its_cases(rules: Run) -> None:
    done = rules()
    assert done.status == 0
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[0] == ["case", "action", "source", "member", "rule", "reason", "margin"]
    assert lines[1] == ["leans", "right", "ok", "1", "(right)", "fallback", "rules", "right", "-", "0.25"]
    assert lines[2] == ["case", "2", "ok", "0", "(left)", "fallback", "rules", "default", "-", "0.2"]
    assert "2 of 2 cases as expected" in done.out


def test_what_the_cases_have_not_shown_is_told(rules: Run) -> None:
    done = rules()
    assert done.out.splitlines()[-4:] == [
        "2 of 3 rules decided a case",
        "  rules, rule_1: decided no case",
        "  rules, rule_1: never true: cart_position > 2.0",
        "  rules, rule_1: never false: pole_angle < 0.1",
    ]
    assert rules("lean.yaml", "cases.yaml", "--require-coverage").status == 1


def test_a_case_that_comes_to_something_else_fails(rules: Run, files: Path) -> None:
    edit(files, "cases.yaml", "action: 0, rule: default", "action: 1, rule: right")
    done = rules()
    assert done.status == 1
    assert "FAILED" in done.out
    assert "1 of 2 cases as expected" in done.out
    assert done.err.splitlines() == [
        "case 2: action: expected 1, got 0",
        "case 2: rule: expected right, got default",
    ]


def test_the_same_as_json(rules: Run) -> None:
    found = rules("lean.yaml", "cases.yaml", "--json").json
    assert (found["passed"], found["failed"]) == (2, 0)
    assert found["cases"][0] == {
        "name": "leans right",
        "passed": True,
        "wrong": [],
        "action": 1,
        "source": "fallback",
        "member": "rules",
        "rule": "right",
        "reason": "",
        "constraint": "",
        "margin": 0.25,
    }
    assert found["rules"][0] == {"member": "rules", "rule": "right", "decided": 1, "gaps": []}


def test_the_whole_safety_of_a_deployment_is_run(rules: Run, files: Path) -> None:
    done = rules("deployment.yaml", "cases.csv")
    assert (done.status, done.err) == (0, "")
    assert "8 of 8 cases as expected" in done.out
    section = yaml.safe_load(DEPLOYMENT)["safety"] | {"safe_action": "left"}
    (files / "safety.yaml").write_text(yaml.safe_dump(section))
    done = rules("safety.yaml", "cases.csv")
    assert done.err.splitlines() == [
        "g: source: expected none, got safe_action",
        "g: reason: expected no_feasible_action, got none",
        "h: source: expected none, got safe_action",
    ]


@pytest.mark.parametrize(
    ("file", "before", "after", "line"),
    [
        ("lean.yaml", "cart_position >", "cart_positon >", "lean.yaml:5:11: rules[1].when: there is no"),
        ("lean.yaml", "then: left", "then: lift", "lean.yaml:6: rules[1].then: 'lift' is not an action"),
        ("lean.yaml", "when: cart", "wen: cart", "lean.yaml:5: rules[1].wen: unknown field"),
        ("lean.yaml", "default: left", "default: lift", "lean.yaml:7: rules.default: 'lift' is"),
        ("lean.yaml", "rules:", "rules: {", "lean.yaml: not YAML: line"),
        ("cases.yaml", "{pole_angle: -0.2}", "{pole_angel: 1}", "cases.yaml:4: cases[1].observation.pole"),
        ("cases.yaml", "defaults: {", "defaults: {x: 1, ", "cases.yaml:1: defaults.x: there is no"),
        ("cases.yaml", "cart_velocity: 0,", "", "cases.yaml:3: cases[0].observation: no value of"),
        ("cases.yaml", "action: 0", "action: 2", "cases.yaml:4: cases[1].expect.action: 2 is not an action"),
        ("cases.yaml", "expect: {action: right, rule: right}", "expect: {}", "nothing is expected"),
        ("cases.yaml", "name: leans right,", "mask: [true],", "cases.yaml:3: cases[0].mask: the mask has"),
        ("cart.yaml", "kind: discrete", "kind: discreet", "cart.yaml: action"),
        ("cart.yaml", "observation:", "observations:", "cart.yaml:1: observations: unknown field"),
    ],
)  # fmt: skip
def test_mistakes_in_files_are_pointed_at(
    rules: Run, files: Path, file: str, before: str, after: str, line: str
) -> None:
    edit(files, file, before, after)
    done = rules()
    assert done.status == 2
    assert line in done.err


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ("a,0,0,0.1,0,right,,", "a,0,0,0.1,0,right,,,", "cases.csv:2: 13 cells; expected 12"),
        ("b,3,0,", "b,three,0,", "cases.csv:3, cart_position: 'three' is no number"),
        ("1 0,fallback", "1 x,fallback", "cases.csv:4: '1 x' is no mask"),
        ("name,cart", "mask,cart", "cases.csv:1: column 'mask' is there twice"),
        ("cart_velocity,", "speed,", "there is no feature 'speed'"),
    ],
)
def test_mistakes_in_tables_are_pointed_at(
    rules: Run, files: Path, before: str, after: str, line: str
) -> None:
    edit(files, "cases.csv", before, after)
    done = rules("deployment.yaml", "cases.csv")
    assert done.status == 2
    assert line in done.err


def test_a_policy_has_to_be_named(steersman: Steersman, files: Path) -> None:
    del files
    done = steersman("rules", "test", "lean.yaml", "--cases", "cases.yaml")
    assert done.status == 2
    assert "expected --bundle FOLDER or --policy FILE, one of the two" in done.err


def test_a_deployment_that_fits_is_told_so(check: Run) -> None:
    done = check()
    assert done.status == 0
    assert done.out.splitlines()[-1] == "it fits"
    assert "lean, preference" in done.out
    found = check("--json").json
    assert found["fits"]
    assert found["constraints"][0]["name"] == "wall"


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ("[left, right]", "[right]", "deployment.yaml:6: safety.fallback: no constant of the chain"),
        ("forbid: [right]", "forbid: [left, right]", "deployment.yaml:4: safety.constraints: constraint"),
        ("forbid: [right]", "box: {low: 0}", "deployment.yaml:5: safety.constraints[0].box: box does not"),
        ("pole_angle: {low", "pole_angel: {low", "deployment.yaml:3: safety.guard.ranges"),
        ("pole_angle > 0.0", "pole_angle >> 0.0", "deployment.yaml:7:47: safety.fallback[0].rules[0].when"),
    ],
)  # fmt: skip
def test_a_deployment_that_does_not_fit_is_refused(
    check: Run, files: Path, before: str, after: str, line: str
) -> None:
    edit(files, "deployment.yaml", before, after)
    done = check()
    assert done.status == 2
    assert line in done.err


def test_a_chain_needs_an_end(check: Run, files: Path) -> None:
    edit(files, "deployment.yaml", "    - preference: [left, right]\n", "")
    edit(
        files,
        "deployment.yaml",
        "  constraints:\n    - {name: wall, when: cart_position > 2.0, forbid: [right]}\n",
        "",
    )
    assert "deployment.yaml:5: safety.fallback[0]: the chain ends in rules" in check().err
    edit(files, "deployment.yaml", "safety:", "safety:\n  unanswered: fail")
    assert check().status == 0


def as_arrays(text: str) -> dict[str, Any]:
    lines = [line.split(",") for line in text.splitlines()[1:]]
    return {
        "observations": np.array([line[:4] for line in lines], np.float32),
        "actions": np.array([int(line[4]) for line in lines]),
        "masks": np.array([[letter == "1" for letter in line[5].split()] for line in lines]),
        "episodes": np.array([int(line[6]) for line in lines]),
        "times_s": np.array([float(line[7]) for line in lines]),
    }


@pytest.mark.parametrize("kind", ["rows.csv", "rows.npz", "rows.jsonl"])
def test_recorded_rows_that_would_have_been_ruled_out(check: Run, files: Path, kind: str) -> None:
    arrays = as_arrays(ROWS)
    np.savez(files / "rows.npz", **arrays)
    keys = {"actions": "action", "masks": "mask", "episodes": "episode", "times_s": "time_s"}
    lines = [
        {"observation": arrays["observations"][i].tolist()}
        | {key: arrays[name][i].tolist() for name, key in keys.items()}
        for i in range(5)
    ]
    (files / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    done = check("--rows", kind, "--json")
    assert done.status == 1
    assert done.json == {
        "rows": 5,
        "ruled_out": 3,
        "assumed": 0,
        "counts": [
            {"kind": "guard", "name": "observation_non_finite", "rows": 1},
            {"kind": "mask", "name": "action_masked", "rows": 1},
            {"kind": "constraint", "name": "wall", "rows": 1},
        ],
        "against": [
            {"row": 1, "by": ["wall"]},
            {"row": 2, "by": ["action_masked"]},
            {"row": 3, "by": ["observation_non_finite"]},
        ],
    }


def test_rows_as_a_table(check: Run, files: Path) -> None:
    done = check("--rows", "rows.csv", "--most", "1")
    assert "and 2 more rows" in done.out
    assert done.out.splitlines()[-1] == "3 of 5 rows would have been ruled out"
    (files / "rows.csv").write_text("\n".join(ROWS.splitlines()[:2]))
    done = check("--rows", "rows.csv")
    assert (done.status, done.out.splitlines()[-1]) == (0, "0 of 1 rows would have been ruled out")


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("rows.txt", "", "rows of this kind are not known; expected .npz, .csv, .jsonl"),
        ("rows.csv", "pole_angle\n1\n", "no column of cart_position"),
        ("rows.jsonl", "{}\n", "cannot be read as rows"),
        ("rows.jsonl", '{"observation": [1, 2]}\n', "observations has the shape [1, 2]; expected [1, 4]"),
        ("rows.jsonl", '{"observation": [1, 2, 3, 4], "action": 0.5}\n', "a value is no int64"),
        ("rows.npz", "not a zip", "cannot be read as rows"),
        ("rows.csv", "", "cannot be read as rows"),
        ("rows.csv", ROWS.splitlines()[0], "there are no rows"),
    ],
)
def test_files_that_are_no_rows(check: Run, files: Path, name: str, text: str, line: str) -> None:
    (files / name).write_text(text)
    done = check("--rows", name)
    assert done.status == 2
    assert line in done.err


def test_rates_are_judged_with_the_step_before(steersman: Steersman, files: Path) -> None:
    (files / "car.yaml").write_text("observation: [speed]\naction: {kind: box, low: [-1], high: [1]}\n")
    (files / "d.yaml").write_text(
        dedent(
            """\
            policy: car
            safety:
              unanswered: fail
              constraints:
                - {name: slew, rate: {max_per_s: 2.0, start: 0.0, assumed_step_s: 0.1}}
            """
        )
    )
    actions = [0.1, 0.25, 0.9, -0.9, -0.8]
    np.savez(
        files / "r.npz",
        observations=np.zeros((5, 1)),
        actions=np.array(actions)[:, None],
        episodes=np.array([0, 0, 0, 1, 1]),
        times_s=np.arange(5) * 0.1,
    )
    done = steersman("check", "d.yaml", "--policy", "car.yaml", "--rows", "r.npz", "--json")
    assert [found["row"] for found in done.json["against"]] == [2, 3]
    assert done.json["assumed"] == 2


def test_a_bundle_says_what_its_policy_takes(steersman: Steersman, files: Path) -> None:
    publish_toy(files / "bundles", "toy")
    (files / "toy.yaml").write_text(
        "policy: toy\nsafety: {guard: {training_range: {margin: 0.1}}, fallback: [{constant: 1}]}\n"
    )
    done = steersman("check", "toy.yaml", "--bundle", "bundles/toy/1")
    assert (done.status, done.err) == (0, "")
    done = steersman("check", "toy.yaml", "--bundle", "bundles/toy")
    assert done.status == 2
    assert "did you mean bundles/toy/1?" in done.err
