"""Unmodified tritonclient, in a process of its own, on a real server with two workers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from steersman.serving.testing import RunningServer

Said = dict[str, Any]
TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def said(server: RunningServer) -> Said:
    """What came back."""
    command = [sys.executable, str(TESTS / "support" / "triton_calls.py"), server.grpc]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def values(answer: dict[str, Any], output: str) -> Any:
    """The elements of an output."""
    return answer[output]["values"]


def test_server_and_models_are_there(said: Said) -> None:
    about = said["about"]
    assert about["live"] is about["ready"] is about["model_ready"] is about["version_ready"] is True
    assert about["nobody_ready"] is False
    assert about["server"]["name"] == "steersman"
    assert {"statistics", "model_configuration", "binary_tensor_data"} <= set(about["server"]["extensions"])


def test_metadata_and_configuration_agree(said: Said) -> None:
    metadata, config = said["about"]["metadata"], said["about"]["config"]
    assert metadata["versions"] == ["1"]
    assert metadata["platform"] == config["platform"] == "onnxruntime_onnx"
    inputs = {given["name"]: given for given in metadata["inputs"]}
    assert (inputs["obs"]["datatype"], inputs["obs"]["shape"]) == ("FP32", ["-1", "4"])
    assert (inputs["action_mask"]["datatype"], inputs["action_mask"]["shape"]) == ("BOOL", ["-1", "3"])
    assert [given["name"] for given in config["input"]] == list(inputs)
    assert [given["name"] for given in config["input"] if not given.get("optional")] == ["obs"]
    assert [given["name"] for given in config["output"]] == [given["name"] for given in metadata["outputs"]]
    assert config["max_batch_size"] == 4096


def test_the_index_has_all_versions(said: Said) -> None:
    index = said["about"]["index"]["models"]
    assert [(entry["name"], entry["version"], entry["state"]) for entry in index] == [
        ("cont", "1", "READY"),
        ("toy", "1", "READY"),
    ]


def test_what_is_not_offered_says_so(said: Said) -> None:
    about = said["about"]
    assert about["no_metadata"]["status"] == "StatusCode.NOT_FOUND"
    assert about["no_loading"]["status"] == "StatusCode.UNIMPLEMENTED"
    assert "steersman deploy apply" in about["no_loading"]["message"]
    assert about["no_memory"]["status"] == "StatusCode.UNIMPLEMENTED"


def test_an_observation_gives_an_action_with_its_evidence(said: Said) -> None:
    one = said["inference"]["one"]
    assert (one["id"], one["model_version"]) == ("r1", "1")
    assert one["action"] == {"datatype": "INT64", "shape": [1], "values": [1]}
    assert values(one, "source") == ["policy"]
    assert values(one, "reason") == [""]
    assert values(one, "lane") == ["stable"]
    assert len(values(one, "decision_id")[0]) == 32


def test_outputs_asked_for_come_and_no_others(said: Said) -> None:
    two = said["inference"]["two"]
    assert list(two) == ["id", "model_version", "action", "value", "distribution"]
    assert values(two, "action") == [1, 0]
    assert values(two, "value") == pytest.approx([6.0, 10.0])
    assert two["distribution"]["shape"] == [2, 3]


def test_the_mask_holds(said: Said) -> None:
    assert values(said["inference"]["masked"], "action") == [2]


def test_sampling_and_sequences(said: Said) -> None:
    sampled = said["inference"]["sampled"]
    assert values(sampled, "source") == ["exploration"]
    assert 0 < values(sampled, "propensity")[0] <= 1
    assert values(said["inference"]["sequence"], "episode_token")[0]


def test_rows_that_nothing_may_answer_fail_the_request_and_are_named(said: Said) -> None:
    dead = said["inference"]["dead"]
    assert dead["status"] == "StatusCode.INVALID_ARGUMENT"
    assert "2 of 2 rows have no action" in dead["message"]
    assert "row 1: " in dead["message"]


def test_errors_are_statuses(said: Said) -> None:
    assert said["inference"]["wrong"]["status"] == "StatusCode.INVALID_ARGUMENT"
    assert "expected shape [N, 4]" in said["inference"]["wrong"]["message"]
    assert said["inference"]["nobody"]["status"] == "StatusCode.NOT_FOUND"


def test_calls_in_flight_together_get_their_own_answers(said: Said) -> None:
    assert said["concurrent"] == [place % 3 for place in range(40)]


def test_a_stream_goes_on_after_a_bad_request(said: Said) -> None:
    first, bad, last = said["stream"]
    assert (first["id"], values(first, "action")) == ("s0", [1])
    assert "'nobody' is not served here" in bad
    assert (last["id"], values(last, "action")) == ("s2", [0])


def test_perf_analyzer_would_find_what_it_reads(said: Said) -> None:
    measured = said["measured"]
    assert measured["inputs"] == ["obs"]
    assert measured["outputs"] == measured["asked"]
    assert measured["came"] == measured["declared"]
    assert (measured["scheduler"], measured["decoupled"]) == (None, False)
    assert measured["rows"] == 10
    gained = measured["gained"]
    assert [gained[name][0] for name in gained] == [10, 0, 10, 10, 10, 10]
    parts = sum(gained[name][1] for name in ("queue", "compute_input", "compute_infer", "compute_output"))
    assert 0 < gained["compute_infer"][1] < gained["success"][1]
    assert parts == pytest.approx(gained["success"][1], rel=0.01)


def test_statistics_count_all_workers(said: Said) -> None:
    """Whichever worker answers, it tells of all of them: the calls above went to both."""
    (toy,) = said["statistics"]
    assert (toy["name"], toy["version"]) == ("toy", "1")
    assert int(toy["inference_count"]) >= 60
    assert [stats["name"] for stats in said["all_statistics"]] == ["cont", "toy"]
