"""Our `inference` messages are those of Triton's client: it has each of our fields, with the same number."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FileDescriptor

from steersman.oip import inference_pb2, model_config_pb2
from support.descriptors import facts

OURS_ALONE = {
    "inference.ModelMetadataResponse.properties",
    "inference.ModelMetadataResponse.PropertiesEntry.key",
    "inference.ModelMetadataResponse.PropertiesEntry.value",
}
"""From KServe's own copy of the protocol; Triton's has no such field."""

THEIRS = """
import json
from support.descriptors import facts
from tritonclient.grpc import model_config_pb2, service_pb2
print(json.dumps(facts(service_pb2.DESCRIPTOR) | facts(model_config_pb2.DESCRIPTOR)))
"""
BOTH = """
import sys
order = {"ours": "steersman.oip.inference_pb2", "theirs": "tritonclient.grpc.service_pb2"}
loaded = {}
for who in sys.argv[1:]:
    __import__(order[who])
    loaded[who] = sys.modules[order[who]]
ours, theirs = loaded["ours"], loaded["theirs"]
sent = theirs.ModelInferRequest(model_name="toy", id="1", raw_input_contents=[b"1234"])
sent.inputs.add(name="obs", datatype="FP32", shape=[1, 1])
sent.parameters["sequence_id"].uint64_param = 2**63
received = ours.ModelInferRequest.FromString(sent.SerializeToString())
assert str(received) == str(sent), received
again = theirs.ModelInferRequest.FromString(received.SerializeToString())
assert again == sent
assert type(received) is not type(sent)
print("both")
"""


TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def theirs() -> dict[str, Any]:
    """Facts of tritonclient's descriptors, from a process that has only those."""
    return json.loads(run(THEIRS))  # type: ignore[no-any-return]


def run(code: str, *arguments: str) -> str:
    """What a fresh interpreter prints."""
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "file", [inference_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR], ids=lambda f: f.name
)
def test_every_field_is_theirs(file: FileDescriptor, theirs: dict[str, Any]) -> None:
    ours = json.loads(json.dumps(facts(file)))
    different = {name for name, fact in ours.items() if theirs.get(name) != fact}
    assert different <= OURS_ALONE


@pytest.mark.parametrize("order", [("ours", "theirs"), ("theirs", "ours")])
def test_both_live_in_one_process_and_exchange_bytes(order: tuple[str, str]) -> None:
    assert run(BOTH, *order) == "both"
