"""Whatever bytes come, a request is taken or refused, and nothing else; memory stays in proportion."""

from __future__ import annotations

import tracemalloc

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from steersman.oip import inference_pb2 as pb
from steersman.serving.errors import CallError, Code
from steersman.serving.limits import Limits
from steersman.serving.rpc.methods import RequestDetails, parse
from steersman.serving.rpc.oip.datatypes import CONTENTS, DTYPES
from steersman.serving.rpc.oip.requests import decode_infer
from steersman.serving.rpc.oip.stream import InferStream
from support.oip import MAX_ROWS, infer_request, rows

DATATYPES = [*DTYPES, "BYTES", "BF16", ""]
NAMES = ["obs", "obs/x", "action_mask", "episode_id", "episode_token", "episode_start", "step", "x", ""]
SIZES = st.sampled_from([-(2**63), -1, 0, 1, 2, 4, 2**31, 2**63 - 1])
NUMBERS = st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4)
PARAMETERS = ["mode", "sequence_id", "sequence_start", "sequence_end", "timeout", "priority", "x"]
CONTENT = st.one_of(
    st.builds(lambda n: pb.InferTensorContents(int_contents=n), NUMBERS),
    st.builds(lambda n: pb.InferTensorContents(int64_contents=n), NUMBERS),
    st.builds(lambda n: pb.InferTensorContents(fp32_contents=n), NUMBERS),
    st.builds(
        lambda n: pb.InferTensorContents(bytes_contents=n), st.lists(st.binary(max_size=4), max_size=4)
    ),
)
PARAMETER = st.one_of(
    st.builds(pb.InferParameter),
    st.builds(lambda v: pb.InferParameter(bool_param=v), st.booleans()),
    st.builds(lambda v: pb.InferParameter(int64_param=v), st.integers(-(2**63), 2**63 - 1)),
    st.builds(lambda v: pb.InferParameter(uint64_param=v), st.integers(0, 2**64 - 1)),
    st.builds(lambda v: pb.InferParameter(string_param=v), st.sampled_from(["greedy", "sampled", "", "x"])),
    st.builds(lambda v: pb.InferParameter(double_param=v), st.floats()),
)
TENSOR = st.builds(
    pb.ModelInferRequest.InferInputTensor,
    name=st.sampled_from(NAMES),
    datatype=st.sampled_from(DATATYPES),
    shape=st.lists(SIZES, max_size=4),
    contents=st.none() | CONTENT,
)
REQUEST = st.builds(
    pb.ModelInferRequest,
    model_name=st.sampled_from(["toy", "", "x"]),
    model_version=st.sampled_from(["", "1", "0", "stable", "9" * 40]),
    id=st.text(max_size=8),
    parameters=st.dictionaries(st.sampled_from(PARAMETERS), PARAMETER, max_size=3),
    inputs=st.lists(TENSOR, max_size=4),
    outputs=st.lists(
        st.builds(
            pb.ModelInferRequest.InferRequestedOutputTensor, name=st.sampled_from(["action", "value", "x"])
        ),
        max_size=3,
    ),
    raw_input_contents=st.lists(st.binary(max_size=32), max_size=4),
)
VALID = infer_request(
    {"obs": rows(), "action_mask": np.ones((1, 3), np.bool_), "episode_id": [b"a"]},
    outputs=["action", "value"],
    parameters={"mode": "greedy", "timeout": 5},
    id="1",
).SerializeToString()


def take(payload: bytes) -> bool:
    """Whether a request is taken; any error but the one that callers are told of comes through."""
    try:
        decode_infer(parse(pb.ModelInferRequest, payload), RequestDetails(), MAX_ROWS)
    except CallError:
        return False
    return True


@given(st.binary(max_size=300))
def test_any_bytes(payload: bytes) -> None:
    take(payload)


@given(REQUEST)
def test_any_request(request: pb.ModelInferRequest) -> None:
    take(request.SerializeToString())


@given(st.data())
def test_a_good_request_with_bytes_changed(data: st.DataObject) -> None:
    payload = bytearray(VALID)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(payload) - 1))
        payload[place] = data.draw(st.integers(0, 255))
    take(bytes(payload[: data.draw(st.integers(0, len(payload)))]))


@given(st.binary(max_size=200) | REQUEST.map(lambda request: request.SerializeToString()))
def test_a_stream_answers_whatever_comes(payload: bytes) -> None:
    stream = InferStream(Limits())
    asked, call = stream.read(payload)
    outcome = call if isinstance(call, CallError) else CallError(*_UNAVAILABLE)
    encoded, error = stream.answer(asked, outcome)
    assert error is outcome
    assert pb.ModelStreamInferResponse.FromString(encoded).error_message == outcome.message


_UNAVAILABLE = (Code.UNAVAILABLE, "policy_not_ready", "not ready")


@settings(deadline=None, max_examples=20)
@given(st.sampled_from(sorted(CONTENTS)), st.lists(st.sampled_from([2**31, 2**62, 2**63 - 1]), max_size=16))
@example("FP32", [2**63 - 1] * 16)
@example("BYTES", [2**63 - 1])
def test_a_shape_without_elements_takes_no_memory(datatype: str, shape: list[int]) -> None:
    request = pb.ModelInferRequest(model_name="toy", raw_input_contents=[b""])
    request.inputs.add(name="obs", datatype=datatype, shape=[*shape, 7])
    payload = request.SerializeToString()
    take(payload)
    tracemalloc.start()
    assert not take(payload)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


def test_many_of_everything_is_refused_early() -> None:
    many = pb.ModelInferRequest(
        model_name="toy",
        inputs=[pb.ModelInferRequest.InferInputTensor()] * 50_000,
        raw_input_contents=[b""] * 50_000,
    )
    assert not take(many.SerializeToString())
    axes = infer_request({"obs": rows()})
    axes.inputs[0].shape[:] = [2**62] * 200_000
    assert not take(axes.SerializeToString())
