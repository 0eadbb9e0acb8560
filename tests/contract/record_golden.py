"""Writes new golden files: `python -m contract.record_golden FOLDER` with tests/ on the path.

For a new schema version only. The old files stay as they are, or they prove nothing.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
from google.protobuf import descriptor_pb2, json_format

from steersman.v1 import policy_pb2
from support.replay import REQUESTS, replay
from support.toy_bundle import publish_toy


def record(folder: Path) -> None:
    """Writes a bundle, decisions made with it, and the wire contract."""
    folder.mkdir(parents=True)
    publish_toy(folder / "bundles")
    shutil.copytree(folder / "bundles" / "toy", folder / "changed" / "toy")
    policy = folder / "changed" / "toy" / "1" / "policy.onnx"
    data = np.frombuffer(policy.read_bytes(), np.uint8).copy()
    data[len(data) // 2] ^= 1
    policy.write_bytes(data.tobytes())
    lines = [
        {"request": json_format.MessageToDict(request), "response": json_format.MessageToDict(response)}
        for request, response in zip(REQUESTS, replay(folder / "bundles", REQUESTS), strict=True)
    ]
    (folder / "decisions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    proto = descriptor_pb2.FileDescriptorProto()
    policy_pb2.DESCRIPTOR.CopyToProto(proto)
    (folder / "policy.protoset").write_bytes(proto.SerializeToString(deterministic=True))


if __name__ == "__main__":
    record(Path(sys.argv[1]))
