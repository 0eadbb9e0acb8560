"""Old bundles load, old decisions replay bit for bit, and the wire contract only grows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, json_format
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto

from steersman.bundle.errors import BundleCorruptError
from steersman.v1 import policy_pb2
from steersman.v1 import policy_pb2 as pb
from support.replay import replay

RELEASES = ("v0.1",)
NUMBERS = ("log_probs", "propensities", "values", "entropies")


@pytest.mark.parametrize("release", RELEASES)
def test_recorded_decisions_replay(golden: Path, release: str) -> None:
    """Actions, sources, reasons and ids are the same; numbers agree as far as processors do."""
    lines = [json.loads(line) for line in (golden / release / "decisions.jsonl").read_text().splitlines()]
    requests = [json_format.ParseDict(line["request"], pb.ActRequest()) for line in lines]
    recorded = [json_format.ParseDict(line["response"], pb.ActResponse()) for line in lines]
    for found, expected in zip(replay(golden / release / "bundles", requests), recorded, strict=True):
        for name in NUMBERS:
            assert list(getattr(found, name)) == pytest.approx(
                list(getattr(expected, name)), abs=1e-5, nan_ok=True
            )
        assert _distribution(found) == pytest.approx(_distribution(expected), abs=1e-5, nan_ok=True)
        for message in (found, expected):
            for name in (*NUMBERS, "distribution"):
                message.ClearField(name)
        assert json_format.MessageToDict(found) == json_format.MessageToDict(expected)


@pytest.mark.parametrize("release", RELEASES)
def test_a_changed_bundle_does_not_load(golden: Path, release: str) -> None:
    with pytest.raises(BundleCorruptError, match="content was changed"):
        replay(golden / release / "changed", [])


@pytest.mark.parametrize("release", RELEASES)
def test_the_wire_contract_only_grows(golden: Path, release: str) -> None:
    """Every field and method of an old contract is still there, with its number, type and label."""
    old = descriptor_pb2.FileDescriptorProto.FromString((golden / release / "policy.protoset").read_bytes())
    new = descriptor_pb2.FileDescriptorProto()
    policy_pb2.DESCRIPTOR.CopyToProto(new)
    assert set(_facts(old)) <= set(_facts(new))


def test_a_removed_field_would_be_noticed(golden: Path) -> None:
    old = descriptor_pb2.FileDescriptorProto.FromString((golden / "v0.1" / "policy.protoset").read_bytes())
    new = descriptor_pb2.FileDescriptorProto.FromString(old.SerializeToString())
    next(message for message in new.message_type if message.name == "ActRequest").field.pop()
    assert not set(_facts(old)) <= set(_facts(new))


def _facts(file: FileDescriptorProto) -> Iterator[tuple[object, ...]]:
    for service in file.service:
        for method in service.method:
            yield (
                service.name,
                method.name,
                method.input_type,
                method.output_type,
                method.client_streaming,
                method.server_streaming,
            )
    for enum in file.enum_type:
        for value in enum.value:
            yield enum.name, value.name, value.number
    for message in file.message_type:
        yield from _message_facts(message, message.name)


def _message_facts(message: DescriptorProto, name: str) -> Iterator[tuple[object, ...]]:
    for field in message.field:
        yield name, field.name, field.number, field.type, field.label, field.type_name
    for nested in message.nested_type:
        yield from _message_facts(nested, f"{name}.{nested.name}")


def _distribution(response: pb.ActResponse) -> list[float]:
    return np.frombuffer(response.distribution.data, "<f4").astype(float).tolist()
