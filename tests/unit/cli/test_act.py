from __future__ import annotations

import json

import pytest
from grpc import StatusCode

from steersman.v1 import policy_pb2 as pb
from support.toy_server import Toy
from unit.cli.conftest import Steersman


def test_a_decision_is_printed_for_people(steersman: Steersman) -> None:
    done = steersman("act", "gate", "--observation", "[0.1, 0.3, 0.2, 9]")
    assert (done.status, done.err) == (0, "")
    assert done.facts["action"] == "11 (stay)"
    assert (done.facts["source"], done.facts["version"], done.facts["lane"]) == ("policy", "7", "stable")
    assert len(done.facts["decision id"]) == 32
    assert "log prob" not in done.facts
    assert "reason" not in done.facts


def test_nan_shows_the_fallback(steersman: Steersman) -> None:
    done = steersman("act", "gate", "-o", "[NaN, -Infinity, 1, 0]", "--mask", "[true, true, false]")
    assert done.status == 0
    assert (done.facts["action"], done.facts["source"]) == ("11 (stay)", "fallback")
    assert done.facts["reason"] == "observation_non_finite"
    assert done.facts["changed by"] == "fallback lean (observation_non_finite): 11 (stay)"


def test_a_changed_action_is_shown_with_the_one_that_was_wanted(steersman: Steersman) -> None:
    done = steersman("act", "gate", "-o", "[0, 1, 0, -1]", "--mask", "[1, 0, 1]")
    assert done.facts["changed by"] == "fallback lean (action_masked): 11 (stay) -> 12 (right)"


def test_a_zero_has_no_sign(steersman: Steersman, toy: Toy) -> None:
    toy.answer_edits = {"entropies": [-0.0], "values": [-0.0]}
    words = ("act", "gate", "-o", "[0, 1, 0, 0]", "--evidence", "entropy,value")
    facts = steersman(*words).facts
    assert (facts["entropy"], facts["value"]) == ("0", "0")
    assert '"entropy": 0.0' in steersman(*words, "--json").out
    arm = steersman("act", "arm", "-o", '{"pose": [-0.0, 0.5], "gear": 1}').facts
    assert arm["action"] == "[0, 0.5]"


def test_all_options_reach_the_server(steersman: Steersman, toy: Toy) -> None:
    words = [
        "--mode",
        "sampled",
        "--episode-id",
        "canary-3",
        "--version",
        "6",
        "--evidence",
        "value, distribution",
    ]
    done = steersman("act", "gate", "-o", "[0, 1, 0, 0]", *words)
    assert done.status == 0
    assert (done.facts["lane"], done.facts["version"]) == ("canary", "6")
    assert (done.facts["log prob"], done.facts["value"]) == ("-0.5", "1.5")
    assert done.facts["distribution"] == "[0, 1, 2]"
    (request,) = toy.of(pb.ActRequest)
    assert request.mode == pb.ACTION_MODE_SAMPLED
    assert list(request.evidence) == [pb.EVIDENCE_VALUE, pb.EVIDENCE_DISTRIBUTION]


def test_json_is_for_programs(steersman: Steersman) -> None:
    done = steersman("act", "arm", "-o", '{"pose": [0.5, -1], "gear": 3}', "--json")
    assert done.json["action"] == [1.5, -3.0]
    assert done.json["log_prob"] is None
    assert done.json["source"] == "policy"
    assert len(bytes.fromhex(done.json["decision_id"])) == 16


def test_an_observation_may_come_by_standard_input(steersman: Steersman) -> None:
    assert steersman("act", "gate", "-o", "-", stdin="[1, 0, 0, 0]\n").facts["action"] == "10 (left)"


def test_one_more_level_of_lists_is_a_batch(steersman: Steersman) -> None:
    done = steersman(
        "act", "gate", "-o", "[[1,0,0,0],[0,0,1,0]]", "--episode-id", "a", "--episode-id", "canary"
    )
    assert done.status == 0
    header, first, second = (line.split() for line in done.out.splitlines())
    assert header[:3] == ["row", "action", "source"]
    assert first[:7] == ["0", "10", "(left)", "policy", "-", "7", "stable"]
    assert second[:7] == ["1", "12", "(right)", "policy", "-", "7", "canary"]


def test_a_batch_of_a_dict_space(steersman: Steersman) -> None:
    done = steersman("act", "arm", "-o", '{"pose": [[1, 2], [3, 4]], "gear": [1, 2]}', "--json")
    assert [decision["action"] for decision in done.json["decisions"]] == [[1.0, 2.0], [6.0, 8.0]]
    assert done.json["errors"] == []


def test_a_row_that_failed_makes_the_status_1_and_shows_the_others(steersman: Steersman) -> None:
    words = ["act", "gate", "-o", "[[1,0,0,0],[0,1,0,0]]", "--mask", "[[1,1,1],[0,0,0]]"]
    done = steersman(*words)
    assert done.status == 1
    assert done.out.splitlines()[1].split()[:3] == ["0", "10", "(left)"]
    assert done.out.splitlines()[2].split()[:4] == ["1", "-", "none", "mask_all_false"]
    assert done.err == "row 1: the action mask forbids every choice\n"
    done = steersman(*words, "--json")
    assert done.status == 1
    assert done.json["decisions"][1] is None
    assert done.json["errors"][0]["code"] == "invalid_argument"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-o", "[1, 2"], "--observation: '[1, 2' is not JSON"),
        (["-o", '"up"'], "--observation: "),
        (["-o", "null"], "--observation: "),
        (["-o", "[1,0,0,0]", "--mask", "yes"], "--mask: 'yes' is not JSON"),
        (
            ["-o", "[1,0,0,0]", "--evidence", "mood"],
            "--evidence: mood is unknown; expected any of value, entropy",
        ),
        (["-o", "[1,0,0,0]", "--episode-id", "a", "--episode-id", "b"], "--episode-id: 2 names for one"),
        (["-o", "[1,0,0,0]", "--mode", "best"], "--mode"),
        (["-o", "[1,0,0,0]", "--version", "0"], "--version"),
        (["-o", "[1,0,0,0]", "--timeout", "0"], "--timeout"),
        ([], "--observation"),
    ],
)
def test_used_wrongly(steersman: Steersman, toy: Toy, words: list[str], expected: str) -> None:
    done = steersman("act", "gate", *words)
    assert done.status == 2
    assert expected in done.err
    assert not toy.of(pb.ActRequest)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["gat", "-o", "[1]"], "there is no policy 'gat'. `steersman policies` lists what there is."),
        (["gate", "-o", "[1, 2]"], "observation has shape [2]; 'gate' expects [4] float32"),
        (["gate", "-o", "[1,0,0,0]", "--mask", "[0,0,0]"], "the action mask forbids every choice"),
        (["gate", "-o", "[1,0,0,0]", "--mask", "[1]"], "action mask has shape [1]; 'gate' expects [3]"),
        (["gate", "-o", '{"a": 1}'], "observation is a mapping of a; 'gate' expects one array"),
        (["arm", "-o", '{"pose": [1, 2], "gear": 0.5}'], "holds 0.5, which int64 cannot hold"),
        (["gate", "-o", "[]"], "observation has shape [0]"),
    ],
)
def test_a_call_that_failed_is_one_line(steersman: Steersman, words: list[str], expected: str) -> None:
    done = steersman("act", *words)
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("steersman: ")
    assert done.err.count("\n") == 1
    assert expected in done.err


def test_no_server_says_what_to_do(steersman: Steersman) -> None:
    done = steersman("act", "gate", "-o", "[1]", "--target", "127.0.0.1:1")
    assert done.status == 1
    assert done.err.startswith("steersman: no server answers at 127.0.0.1:1: ")
    assert "Start one with `steersman serve`, or say with --server where it is." in done.err
    assert done.err.count("\n") == 1


def test_a_failing_server_is_quoted(steersman: Steersman, toy: Toy) -> None:
    toy.fail(
        StatusCode.INTERNAL, details="internal error; the server's log has the details", reason="internal"
    )
    done = steersman("act", "gate", "-o", "[1, 0, 0, 0]")
    assert (done.status, done.err) == (1, "steersman: internal error; the server's log has the details\n")


def test_json_of_a_decision_is_whole(steersman: Steersman) -> None:
    done = steersman("act", "gate", "-o", "[NaN, 0, 0, 0]", "--json")
    assert json.dumps(done.json)
    assert done.json["interventions"][0] == {
        "row": 0,
        "layer": "fallback",
        "name": "lean",
        "reason": "observation_non_finite",
        "before": None,
        "after": 12,
        "margin": None,
    }
