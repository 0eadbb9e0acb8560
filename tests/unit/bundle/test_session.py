"""Loading a graph: bound to its contract, refused when it is something else."""

from __future__ import annotations

import numpy as np
import pytest

from steersman.bundle.bundle import Bundle
from steersman.bundle.errors import BundleCorruptError
from steersman.bundle.session import PolicySession


@pytest.fixture
def session(toy: Bundle) -> PolicySession:
    manifest = toy.manifest
    return PolicySession(toy.read("policy.onnx"), manifest.contract, manifest.contract_digest, "toy")


def test_a_graph_answers_what_is_asked_of_it(session: PolicySession) -> None:
    assert session.inputs == {"obs", "action_mask", "noise"}
    observations = np.array([[0, 0, 1, 0], [0, 2, 1, 0]], np.float32)
    value, action = session.run(("value", "action"), session.feeds({"obs": observations}))
    assert value.tolist() == [1.0, 3.0]
    assert action.tolist() == [2, 1]


def test_masks_and_noise_are_added_only_where_they_are_missing(session: PolicySession) -> None:
    observations = np.zeros((3, 4), np.float32)
    feeds = session.feeds({"obs": observations})
    assert feeds["action_mask"].all()
    assert feeds["action_mask"].shape == feeds["noise"].shape == (3, 3)
    mask, noise = np.eye(3, dtype=np.bool_), np.full((3, 3), 0.25, np.float32)
    feeds = session.feeds({"obs": observations}, mask, noise)
    assert feeds["action_mask"] is mask
    assert feeds["noise"] is noise
    assert session.run(("action",), feeds)[0].tolist() == [0, 1, 2]


def test_a_graph_of_another_contract_is_refused(toy: Bundle) -> None:
    with pytest.raises(BundleCorruptError, match="toy: the graph was made for another contract"):
        PolicySession(toy.read("policy.onnx"), toy.manifest.contract, "0" * 64, "toy")


@pytest.mark.parametrize("model", [b"", b"no graph", b"\x08\x0a"])
def test_bytes_that_are_no_graph_are_refused(toy: Bundle, model: bytes) -> None:
    with pytest.raises(BundleCorruptError, match="cannot load the graph"):
        PolicySession(model, toy.manifest.contract, toy.manifest.contract_digest, "toy")
