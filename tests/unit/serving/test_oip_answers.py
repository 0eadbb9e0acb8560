"""Decisions to `ModelInferResponse`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.oip import inference_pb2 as pb
from steersman.serving.decision import REASON_CODE, SOURCE_CODE, Reason, Source
from steersman.serving.errors import CallError, Code, invalid
from steersman.serving.rpc.oip.answers import encode_decisions, encode_infer
from steersman.serving.rpc.oip.outputs import COLUMNS, USUAL
from steersman.serving.rpc.oip.requests import Asked
from support.made_decisions import decisions, failed
from support.oip import decode, infer_request, read_answer, rows


def refused(outcome: Any, asked: Asked | None = None) -> CallError:
    """The failure that an outcome is answered with."""
    error = encode_infer(outcome, asked or Asked("toy", ""))
    assert isinstance(error, CallError)
    return error


def parsed(payload: bytes | CallError) -> pb.ModelInferResponse:
    """The answer."""
    assert isinstance(payload, bytes)
    return pb.ModelInferResponse.FromString(payload)


@pytest.mark.parametrize("raw", [True, False])
def test_columns_become_outputs(raw: bool) -> None:
    sources = np.array([SOURCE_CODE[Source.EXPLORATION], SOURCE_CODE[Source.FALLBACK]], np.int8)
    reasons = np.array([0, REASON_CODE[Reason.OBSERVATION_NON_FINITE]], np.int8)
    made = decisions(sources=sources, reasons=reasons, episode_tokens=[b"\0t", b""])
    answer = parsed(encode_infer(made, Asked("toy", "id-1", raw=raw)))
    assert (answer.model_name, answer.model_version, answer.id) == ("toy", "3", "id-1")
    assert [output.name for output in answer.outputs] == list(USUAL)
    assert bool(answer.raw_output_contents) is raw
    assert any(output.HasField("contents") for output in answer.outputs) is not raw
    found = read_answer(answer)
    assert found["action"].tolist() == [0, 1]
    assert found["source"] == [b"exploration", b"fallback"]
    assert found["reason"] == [b"", b"observation_non_finite"]
    assert found["version"].tolist() == [3, 3]
    assert found["lane"] == [b"stable"] * 2
    assert found["decision_id"] == [bytes(range(16)), bytes(range(16, 32))]
    assert np.isnan(found["log_prob"]).all()
    assert found["propensity"].tolist() == [0.5, 0.5]
    assert found["episode_token"] == [b"\0t", b""]


def test_only_what_is_asked_for_comes_in_the_order_asked() -> None:
    made = decisions(values=np.array([1.0, 2.0], np.float32))
    answer = parsed(encode_infer(made, Asked("toy", "", ("value", "action"))))
    assert [output.name for output in answer.outputs] == ["value", "action"]
    assert len(answer.raw_output_contents) == 2
    assert read_answer(answer)["value"].tolist() == [1.0, 2.0]


def test_evidence_that_the_policy_does_not_have_is_no_columns_wide() -> None:
    answer = parsed(encode_infer(decisions(), Asked("toy", "", ("distribution",))))
    assert list(answer.outputs[0].shape) == [2, 0]
    assert read_answer(answer)["distribution"].shape == (2, 0)


def test_rows_without_tokens_have_empty_ones() -> None:
    assert read_answer(encode_decisions(decisions(), Asked("toy", "")))["episode_token"] == [b"", b""]


def test_rows_of_two_versions_leave_the_answers_version_open() -> None:
    made = decisions(versions=np.array([3, 4]))
    answer = parsed(encode_infer(made, Asked("toy", "", ("version",))))
    assert answer.model_version == ""
    assert read_answer(answer)["version"].tolist() == [3, 4]


def test_half_precision_makes_the_whole_answer_raw() -> None:
    made = decisions(actions=np.array([[0.5], [1.5]], np.float16))
    answer = parsed(encode_infer(made, Asked("toy", "", ("action", "lane"), raw=False)))
    assert answer.outputs[0].datatype == "FP16"
    assert len(answer.raw_output_contents) == 2
    assert read_answer(answer)["action"].tolist() == [[0.5], [1.5]]


def test_parameters_come_back() -> None:
    request = infer_request({"obs": rows()}, parameters={"sequence_id": "walk", "sequence_end": True})
    answer = parsed(encode_infer(decisions(1), decode(request)[0]))
    assert answer.parameters["sequence_id"].string_param == "walk"
    assert answer.parameters["sequence_end"].bool_param is True


def test_a_failure_of_the_call_stays_what_it_is() -> None:
    error = invalid("observation_shape", "wrong")
    assert refused(error) is error


def test_the_only_row_fails_as_itself() -> None:
    error = refused(decisions(1, errors=[failed(0)]))
    assert (error.code, error.reason, error.row) == (Code.INVALID_ARGUMENT, "mask_all_false", True)


def test_one_failed_row_fails_the_request_and_is_named() -> None:
    error = refused(decisions(8, errors=[failed(3), failed(5, Reason.MODEL_ERROR, retryable=True)]))
    assert (error.code, error.reason, error.row) == (Code.INVALID_ARGUMENT, "mask_all_false", False)
    assert not error.retryable
    assert "2 of 8 rows have no action" in error.message
    assert "3, 5; row 3: nothing is allowed; row 5: " in error.message


def test_many_failed_rows_are_counted_and_the_first_are_named() -> None:
    errors = [failed(row, Reason.MODEL_ERROR, retryable=True) for row in range(900)]
    error = refused(decisions(1000, errors=errors))
    assert error.retryable
    assert "900 of 1000 rows" in error.message
    assert "15 and 884 more; row 0: " in error.message
    assert len(error.message) <= 500


@given(st.integers(1, 300), st.text(max_size=300), st.sampled_from(sorted(COLUMNS)), st.booleans())
def test_answers_are_messages_whatever_their_size(count: int, text: str, output: str, raw: bool) -> None:
    answer = parsed(encode_infer(decisions(count), Asked("toy", text, (output, "action"), raw=raw)))
    assert answer.id == text
    assert read_answer(answer)["action"].tolist() == list(range(count))
    again = pb.ModelInferResponse.FromString(answer.SerializeToString())
    assert again == answer
