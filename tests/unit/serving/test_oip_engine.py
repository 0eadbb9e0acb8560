"""Requests of the protocol all the way through an engine, without a transport."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steersman.oip import inference_pb2 as pb
from steersman.serving.errors import CallError
from steersman.serving.rpc.methods import RequestDetails, parse
from steersman.serving.rpc.oip.answers import encode_infer
from steersman.serving.rpc.oip.requests import decode_infer
from support.oip import MAX_ROWS, infer_request, read_answer, rows
from unit.serving.conftest import Kit, KitMaker
from unit.serving.test_oip_fuzz import REQUEST

NAN = float("nan")


@pytest.fixture(scope="module")
def served(kit: KitMaker) -> Kit:
    """The toy policies, without a fallback."""
    return kit(max_rows=MAX_ROWS)


def ask(served: Kit, request: pb.ModelInferRequest) -> bytes | CallError:
    """What the server answers."""
    try:
        asked, call = decode_infer(
            parse(pb.ModelInferRequest, request.SerializeToString()), RequestDetails(), MAX_ROWS
        )
    except CallError as error:
        return error
    (outcome,) = served.engine.decide([call])
    return encode_infer(outcome, asked)


def answered(served: Kit, request: pb.ModelInferRequest) -> dict[str, Any]:
    """The outputs of a request that must be answered."""
    payload = ask(served, request)
    assert isinstance(payload, bytes), payload
    return read_answer(payload)


def refused(served: Kit, request: pb.ModelInferRequest) -> CallError:
    """The failure of a request that must fail."""
    error = ask(served, request)
    assert isinstance(error, CallError)
    return error


@pytest.mark.parametrize("typed", [False, True])
def test_both_kinds_of_contents_ask_the_same(served: Kit, typed: bool) -> None:
    inputs = {"obs": rows([1, 3, 2, 0], [5, 3, 2, 0]), "action_mask": np.array([True, False, True])}
    found = answered(
        served, infer_request(inputs, typed=typed, outputs=["action", "entropy", "distribution"])
    )
    assert found["action"].tolist() == [2, 0]
    assert found["distribution"].shape == (2, 3)
    assert np.isfinite(found["entropy"]).all()


def test_continuous_actions_come_as_such(served: Kit) -> None:
    request = infer_request({"obs": rows([0.1, 0.1, 0.2, 0.2])}, model_name="cont", outputs=["action"])
    assert answered(served, request)["action"].tolist() == [pytest.approx([0.2, 0.4])]


def test_the_same_key_samples_the_same(served: Kit) -> None:
    request = infer_request(
        {"obs": rows([0, 0, 0, 0]), "idempotency_key": [b"k"]}, parameters={"mode": "sampled"}
    )
    first, second = answered(served, request), answered(served, request)
    assert first["decision_id"] == second["decision_id"]
    assert first["action"].tolist() == second["action"].tolist()
    assert np.isfinite(first["log_prob"]).all()


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({"obs": rows().astype(np.float64)}, "dtype"),
        ({"obs": rows().astype(np.float16)}, "dtype"),
        ({"obs": np.zeros((1, 5), np.float32)}, "observation_shape"),
        ({"obs/x": rows()}, "observation_keys"),
        ({}, "observation_keys"),
        ({"obs": rows(*[[0] * 4] * 65)}, "row_count"),
        ({"obs": rows(), "action_mask": np.ones((1, 4), np.bool_)}, "action_mask_shape"),
        ({"obs": rows(), "action_mask": np.ones((1, 3), np.uint8)}, "dtype"),
        ({"obs": rows(), "step": np.array([1, 2])}, "steps"),
        ({"obs": rows([NAN, 0, 0, 0])}, "observation_non_finite"),
    ],
)
def test_what_the_policy_does_not_take_is_refused(served: Kit, inputs: dict[str, Any], reason: str) -> None:
    assert refused(served, infer_request(inputs)).reason == reason


def test_a_datatype_is_never_cast(served: Kit) -> None:
    """Not even FP32 to FP64: callers shall know what their policy observes."""
    message = refused(served, infer_request({"obs": rows().astype(np.float64)})).message
    assert "float64" in message
    assert "expected float32" in message


def test_failed_rows_fail_the_request_and_are_named(served: Kit) -> None:
    error = refused(served, infer_request({"obs": rows([1, 3, 2, 0], [NAN, 0, 0, 0], [0, 0, 0, 0])}))
    assert error.reason == "observation_non_finite"
    assert "1 of 3 rows have no action, so the request fails: 1; row 1: " in error.message


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(request=REQUEST)
def test_whatever_comes_is_answered_or_refused(served: Kit, request: pb.ModelInferRequest) -> None:
    found = ask(served, request)
    assert isinstance(found, bytes) or found.reason != "internal"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(count=st.integers(1, MAX_ROWS), seed=st.integers(0, 2**32 - 1), masked=st.booleans())
def test_rows_are_decided_as_if_alone(served: Kit, count: int, seed: int, masked: bool) -> None:
    rng = np.random.default_rng(seed)
    obs = rng.normal(size=(count, 4)).astype(np.float32)
    mask = rng.random((count, 3)) < 0.5
    mask[:, 0] = True
    inputs = {"obs": obs} | ({"action_mask": mask} if masked else {})
    together = answered(served, infer_request(inputs, outputs=["action", "value"]))
    logits = np.where(mask, obs[:, :3], -np.inf) if masked else obs[:, :3]
    assert together["action"].tolist() == logits.argmax(axis=1).tolist()
    assert together["value"] == pytest.approx(obs.sum(axis=1), abs=1e-5)
