"""The comparison with other model servers, as far as it goes without installing them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks.errors import BenchmarkError
from benchmarks.exchange import framed
from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.model import write_model
from benchmarks.peers.peer import Peer, Place
from benchmarks.peers.report import tables
from benchmarks.peers.rounds import measure_what_answers
from benchmarks.peers.run import BASELINE, Comparison
from benchmarks.peers.weigh import Weight
from benchmarks.peers.wire import JsonHttp, OpenInference
from benchmarks.points import Point, Run, Subject
from benchmarks.policies import DEMO
from benchmarks.processes import Roles
from benchmarks.rounds import Pace
from benchmarks.servers import Server

from steersman.oip import inference_pb2 as oip


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_package_of_a_peer_is_pinned_and_none_is_torch(peer: Peer) -> None:
    pins = [line.split("==") for line in peer.lock_file.read_text().splitlines()]
    assert all(len(pin) == 2 for pin in pins)
    assert not {"torch", "triton"} & {name for name, _ in pins}
    assert "onnxruntime" in dict(pins)
    assert peer.version == dict(pins)[peer.package]


def test_every_peer_runs_the_same_onnxruntime() -> None:
    lines = [peer.lock_file.read_text().splitlines() for peer in PEERS]
    assert len({line for pins in lines for line in pins if line.startswith("onnxruntime==")}) == 1


def test_an_infer_request_has_the_row_and_asks_for_the_action_only() -> None:
    observation, mask = DEMO.row()
    body = OpenInference().body("p", observation, mask)
    request = oip.ModelInferRequest.FromString(body[5:])
    assert body == framed(body[5:])
    assert [(each.name, each.datatype, list(each.shape)) for each in request.inputs] == [
        ("obs", "FP32", [1, 4]),
        ("action_mask", "BOOL", [1, 2]),
    ]
    assert [each.name for each in request.outputs] == ["action"]
    np.testing.assert_array_equal(np.frombuffer(request.raw_input_contents[0], "<f4"), observation)
    np.testing.assert_array_equal(np.frombuffer(request.raw_input_contents[1], np.bool_), mask)


def test_json_carries_the_row_exactly() -> None:
    observation, mask = DEMO.row()
    document = json.loads(JsonHttp().body("p", observation, mask))
    np.testing.assert_array_equal(np.array(document["obs"], np.float32), observation[np.newaxis])
    assert document["action_mask"] == [mask.tolist()]


def test_the_model_of_the_peers_heeds_the_mask(tmp_path: Path) -> None:
    act = write_model(DEMO, tmp_path / "policy.onnx")
    observation = np.zeros(DEMO.features, np.float32)
    assert [act(observation, np.arange(DEMO.actions) == i) for i in range(DEMO.actions)] == [0, 1]


def test_a_place_knows_the_commands_of_its_environment(tmp_path: Path) -> None:
    place = Place(tmp_path / "venv", tmp_path, "p", 4, 2, port=1, other_port=2)
    assert place.python == str(tmp_path / "venv" / "bin" / "python")


def test_one_that_fails_drops_out_and_is_told_of() -> None:
    def drive(_address: str, _calls: int) -> Run:
        raise BenchmarkError("it is down")

    told: list[str] = []
    subject = Subject(Server("peer", "nowhere", 1, Roles("a", "b")), "p", "c1", drive)
    points = measure_what_answers(
        [subject], Pace(1, 0.1), 1, lambda which, why: told.append(f"{which.server.name}: {why}")
    )
    assert points == []
    assert told == ["peer: it is down"]


def test_what_could_not_be_measured_is_in_the_tables() -> None:
    point = Point(BASELINE, "p", "c1", 0, 10, 1.0, 100.0, 200.0, {"worker": 50.0})
    found = Comparison(
        machine={},
        pace=Pace(),
        wires={BASELINE: "Act, gRPC"},
        points=[point],
        weights={BASELINE: Weight(100.0, 2, 1.0)},
        failures={"Triton": "cannot be\ninstalled"},
    )
    load, weights, missing = tables(found)
    assert load.rows[0][:3] == (BASELINE, "Act, gRPC", "10.0")
    assert weights.rows[0][:3] == (BASELINE, "100", "2")
    assert missing.rows == [("Triton", "cannot be installed")]
