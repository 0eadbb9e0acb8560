"""One `ModelStreamInfer` stream, without transport or engine."""

from __future__ import annotations

from typing import Any

from steersman.oip import inference_pb2 as pb
from steersman.serving.deciding.call import Call
from steersman.serving.errors import CallError
from steersman.serving.limits import Limits
from steersman.serving.rpc.oip.stream import InferStream
from support.made_decisions import decisions, failed
from support.oip import infer_request, read_answer, rows


def read(stream: InferStream, **fields: Any) -> tuple[Any, Call]:
    """A request for one row that is taken."""
    asked, call = stream.read(infer_request({"obs": rows()}, **fields).SerializeToString())
    assert isinstance(call, Call)
    return asked, call


def test_an_answer_is_tritons() -> None:
    stream = InferStream(Limits())
    asked, _ = read(stream, id="a")
    payload, error = stream.answer(asked, decisions(1))
    answer = pb.ModelStreamInferResponse.FromString(payload)
    assert (error, answer.error_message, answer.infer_response.id) == (None, "", "a")
    assert answer.infer_response.parameters["triton_final_response"].bool_param is True
    assert read_answer(answer.infer_response)["action"].tolist() == [0]


def test_a_failure_is_an_answer_that_names_its_request() -> None:
    stream = InferStream(Limits())
    asked, _ = read(stream, id="b")
    payload, error = stream.answer(asked, decisions(1, errors=[failed(0)]))
    answer = pb.ModelStreamInferResponse.FromString(payload)
    assert error is not None
    assert answer.error_message == error.message == "nothing is allowed"
    assert answer.infer_response.id == "b"
    assert answer.infer_response.parameters["reason"].string_param == "mask_all_false"
    assert answer.infer_response.parameters["code"].int64_param == 3


def test_a_malformed_request_is_answered_with_its_id() -> None:
    stream = InferStream(Limits())
    request = infer_request({"observation": rows()}, id="c")
    asked, error = stream.read(request.SerializeToString())
    assert isinstance(error, CallError)
    payload, told = stream.answer(asked, error)
    assert told is error
    assert pb.ModelStreamInferResponse.FromString(payload).infer_response.id == "c"


def test_a_sequence_goes_on_with_the_token_of_its_last_answer() -> None:
    stream = InferStream(Limits())
    sequence = {"sequence_id": 7}
    asked, call = read(stream, parameters={**sequence, "sequence_start": True})
    assert not any(call.episode_tokens)
    stream.answer(asked, decisions(1, episode_tokens=[b"token"]))
    assert list(read(stream, parameters=sequence)[1].episode_tokens) == [b"token"]
    assert not any(read(stream, parameters={"sequence_id": 8})[1].episode_tokens)
    assert not any(read(stream, parameters={**sequence, "sequence_start": True})[1].episode_tokens)
