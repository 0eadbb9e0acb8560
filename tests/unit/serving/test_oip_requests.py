"""`ModelInferRequest` to call: what each rule of the protocol makes of a request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.oip import inference_pb2 as pb
from steersman.serving.errors import CallError, Code
from steersman.serving.rpc.oip.datatypes import CONTENTS, DTYPES, frame, unframe
from steersman.serving.rpc.oip.outputs import USUAL
from support.oip import MAX_ROWS, add_input, decode, infer_request, rows, set_parameter

OBS = {"obs": rows()}
Edit = Callable[[pb.ModelInferRequest], Any]


def refusal(request: pb.ModelInferRequest) -> CallError:
    """What is said of a request that must not be taken."""
    with pytest.raises(CallError) as caught:
        decode(request)
    assert len(caught.value.message) <= 500
    return caught.value


@pytest.mark.parametrize("typed", [False, True])
def test_observation_and_mask_become_columns(typed: bool) -> None:
    mask = np.array([[True, False, True]])
    asked, call = decode(infer_request({**OBS, "action_mask": mask}, typed=typed, id="7"))
    assert call.policy == "toy"
    assert call.observations[""].elements.tolist() == [1, 3, 2, 0]
    assert call.observations[""].elements.dtype == np.float32
    assert call.observations[""].shape == (1, 4)
    assert call.action_mask is not None
    assert call.action_mask.elements.tolist() == [True, False, True]
    assert (asked.id, asked.raw, asked.outputs) == ("7", not typed, USUAL)


def test_keys_of_a_dict_space_follow_the_slash() -> None:
    pose, deep = np.zeros((2, 3), np.float64), np.zeros(2, np.int64)
    _, call = decode(infer_request({"obs/pose": pose, "obs/arm/joint": deep}))
    assert call.observations.keys() == {"pose", "arm/joint"}


def test_who_the_rows_are_comes_in_tensors_of_one_element_a_row() -> None:
    inputs = {
        "obs": rows([1, 0, 0, 0], [0, 1, 0, 0]),
        "episode_id": ["ä".encode(), b"b"],
        "episode_token": [b"\0\1", b""],
        "episode_start": np.array([[True], [False]]),
        "step": np.array([0, 9]),
        "observation_time": np.array([5, 6]),
        "idempotency_key": [b"k", b""],
    }
    _, call = decode(infer_request(inputs))
    assert call.episode_ids == ["ä", "b"]
    assert call.episode_tokens == [b"\0\1", b""]
    assert call.episode_starts == [True, False]
    assert call.steps == [0, 9]
    assert call.observation_times == [5, 6]
    assert call.idempotency_keys == [b"k", b""]


@pytest.mark.parametrize("datatype", sorted(DTYPES))
def test_every_datatype_comes_through_raw(datatype: str) -> None:
    dtype = DTYPES[datatype]
    array = np.arange(6).astype(dtype).reshape(3, 2)
    _, call = decode(infer_request({"obs": array}))
    assert call.observations[""].elements.dtype == dtype
    assert call.observations[""].elements.tolist() == array.ravel().tolist()


@pytest.mark.parametrize("datatype", sorted(set(DTYPES) & set(CONTENTS)))
def test_every_datatype_but_fp16_comes_through_typed(datatype: str) -> None:
    dtype = DTYPES[datatype]
    limits = np.iinfo(dtype) if dtype.kind in "iu" else None
    array = np.array([limits.min, limits.max] if limits else [0, 1], dtype)
    _, call = decode(infer_request({"obs": array}, typed=True))
    assert call.observations[""].elements.dtype == dtype
    assert call.observations[""].elements.tolist() == array.tolist()


def test_raw_observations_are_not_copied() -> None:
    request = infer_request({"obs": np.zeros((8, 4), np.float32)})
    _, call = decode(request)
    assert not call.observations[""].elements.flags.owndata


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", (0, "")), ("3", (3, "")), ("champion", (0, "champion")), ("v2", (0, "v2")), ("٣", (0, "٣"))],
)
def test_a_version_is_digits_and_the_rest_is_a_label(text: str, expected: tuple[int, str]) -> None:
    _, call = decode(infer_request(OBS, model_version=text))
    assert (call.version, call.version_label) == expected


def test_parameters_have_tritons_meaning() -> None:
    given = {
        "mode": "sampled",
        "sequence_id": 42,
        "sequence_start": True,
        "sequence_end": False,
        "timeout": 1500,
        "priority": 1,
        "triton_enable_empty_final_response": True,
    }
    asked, call = decode(infer_request(OBS, parameters=given), arrived_ns=1_000)
    assert (call.mode, call.episode_ids, call.episode_starts) == ("sampled", ["42"], [True])
    assert call.deadline_ns == 1_000 + 1_500_000
    echoed = pb.ModelInferResponse.FromString(asked.echo).parameters
    assert echoed.keys() == {"mode", "sequence_id", "sequence_start", "sequence_end"}
    assert echoed["sequence_id"].int64_param == 42


def test_rows_of_a_sequence_are_an_episode_each() -> None:
    _, call = decode(infer_request({"obs": rows(*[[0] * 4] * 3)}, parameters={"sequence_id": "env"}))
    assert call.episode_ids == ["env/0", "env/1", "env/2"]
    assert call.episode_starts == [False] * 3


@pytest.mark.parametrize("none", [0, ""])
def test_sequence_zero_is_no_sequence(none: int | str) -> None:
    _, call = decode(infer_request(OBS, parameters={"sequence_id": none}))
    assert (list(call.episode_ids), list(call.episode_starts)) == ([], [])


@pytest.mark.parametrize(
    ("remaining_s", "expected"), [(None, 2_000_000), (1e-3, 1_000_000), (1.0, 2_000_000)]
)
def test_the_nearer_deadline_counts(remaining_s: float | None, expected: int) -> None:
    request = infer_request(OBS, parameters={"timeout": 2_000})
    _, call = decode(request, arrived_ns=10, time_remaining_s=remaining_s)
    assert call.deadline_ns == 10 + expected


def test_evidence_is_what_outputs_ask_for() -> None:
    asked, call = decode(infer_request(OBS, outputs=["value", "action", "distribution"]))
    assert asked.outputs == ("value", "action", "distribution")
    assert call.evidence == {"value", "distribution"}
    assert decode(infer_request(OBS))[1].evidence == frozenset()


def _typed_beside_raw(request: pb.ModelInferRequest) -> None:
    request.inputs[0].contents.fp32_contents.append(1.0)


def _one_raw_too_many(request: pb.ModelInferRequest) -> None:
    request.raw_input_contents.append(b"")


def _half_typed(request: pb.ModelInferRequest) -> None:
    add_input(request, "action_mask", np.ones((1, 3), np.bool_), typed=True)


def _shape(*shape: int) -> Edit:
    def edit(request: pb.ModelInferRequest) -> None:
        request.inputs[0].shape[:] = shape

    return edit


def _datatype(datatype: str) -> Edit:
    def edit(request: pb.ModelInferRequest) -> None:
        request.inputs[0].datatype = datatype

    return edit


def _shared_memory(request: pb.ModelInferRequest) -> None:
    request.inputs[0].parameters["shared_memory_region"].string_param = "region"


def _classification(request: pb.ModelInferRequest) -> None:
    request.outputs.add(name="action").parameters["classification"].int64_param = 3


def _parameter(name: str, value: Any) -> Edit:
    return lambda request: set_parameter(request.parameters[name], value)


def _unset(request: pb.ModelInferRequest) -> None:
    request.parameters["mode"].SetInParent()


@pytest.mark.parametrize(
    ("edit", "reason", "said"),
    [
        (_typed_beside_raw, "raw_contents", "beside raw_input_contents"),
        (_one_raw_too_many, "raw_contents", "2 raw contents for 1 inputs"),
        (_half_typed, "raw_contents", "1 raw contents for 2 inputs"),
        (_shape(1, 5), "tensor", "obs has 16 bytes; its shape and datatype FP32 need 20"),
        (_shape(2**62, 2**62), "tensor", "need"),
        (_shape(-1, 4), "tensor", "sizes of at least 0"),
        (_shape(*[1] * 17), "tensor", "at most 16"),
        (_datatype("FP64"), "tensor", "need 32"),
        (_datatype("BF16"), "datatype", "'BF16'; expected one of BOOL, INT8"),
        (_datatype("float32"), "datatype", "expected one of BOOL"),
        (_datatype("BYTES"), "tensor", "ends within an element"),
        (_shared_memory, "shared_memory", "send the data"),
        (_classification, "classification", "not offered"),
        (_parameter("mode", "greddy"), "parameters", 'expected the string "greedy" or "sampled"'),
        (_parameter("mode", 1), "parameters", "mode is '1'"),
        (_unset, "parameters", "mode is 'None'"),
        (_parameter("temperature", 0.5), "parameters", "'temperature' is unknown; expected one of mode"),
        (_parameter("timeout", -1), "parameters", "microseconds"),
        (_parameter("timeout", True), "parameters", "microseconds"),
        (_parameter("sequence_id", 1.5), "parameters", "a whole number"),
        (_parameter("sequence_start", 1), "parameters", "true or false"),
        (_parameter("sequence_end", "yes"), "parameters", "true or false"),
    ],
)
def test_what_is_wrong_is_said(edit: Edit, reason: str, said: str) -> None:
    request = infer_request(OBS)
    edit(request)
    error = refusal(request)
    assert (error.reason, error.row) == (reason, False)
    assert said in error.message


@pytest.mark.parametrize(
    ("inputs", "reason", "said"),
    [
        (
            {"observation": rows()},
            "inputs",
            "'observation' is unknown; expected one of obs, obs/KEY, action_mask",
        ),
        ({"obs/": rows()}, "inputs", "'obs/' is unknown"),
        ({"obs": [b"x"]}, "datatype", "obs has datatype BYTES; expected numbers"),
        (
            {"obs": rows(), "step": np.zeros(1, np.int32)},
            "datatype",
            "step has datatype INT32; expected INT64",
        ),
        ({"obs": rows(), "step": np.zeros((1, 2), np.int64)}, "tensor", "expected [N], one per row"),
        ({"obs": rows(), "episode_id": [b"\xff"]}, "tensor", "episode_id is not UTF-8"),
    ],
)
def test_wrong_inputs_are_named(inputs: dict[str, Any], reason: str, said: str) -> None:
    error = refusal(infer_request(inputs))
    assert error.reason == reason
    assert said in error.message


def test_an_input_must_come_once() -> None:
    request = infer_request(OBS)
    add_input(request, "obs", rows())
    assert "given twice" in refusal(request).message


@pytest.mark.parametrize("outputs", [["reward"], ["action", "action"]])
def test_outputs_must_be_known_and_distinct(outputs: list[str]) -> None:
    assert refusal(infer_request(OBS, outputs=outputs)).reason == "outputs"


@pytest.mark.parametrize("version", ["0", "9" * 19])
def test_no_version_is_0_or_endless(version: str) -> None:
    assert refusal(infer_request(OBS, model_version=version)).reason == "version"


def test_an_episode_is_named_once() -> None:
    request = infer_request({**OBS, "episode_id": [b"a"]}, parameters={"sequence_id": 1})
    assert refusal(request).reason == "sequence_id"


def test_a_sequence_of_rows_without_elements_is_bounded() -> None:
    request = infer_request({"obs": np.empty((0, 4), np.float32)}, parameters={"sequence_id": 1})
    request.inputs[0].shape[:] = (2**40, 0)
    error = refusal(request)
    assert error.reason == "row_count"
    assert f"1 to {MAX_ROWS}" in error.message


@pytest.mark.parametrize(
    ("datatype", "field", "values", "said"),
    [
        ("INT8", "int_contents", [128], "outside INT8; expected -128 to 127"),
        ("UINT16", "uint_contents", [65536], "outside UINT16"),
        ("FP32", "fp64_contents", [1.0], "obs has fp64_contents; expected fp32_contents alone"),
        ("FP32", "fp32_contents", [1.0, 2.0], "obs has 2 fp32_contents; its shape [1] needs 1"),
        ("FP16", "fp32_contents", [1.0], "expected it in raw_input_contents"),
    ],
)
def test_typed_contents_are_of_the_datatype(datatype: str, field: str, values: Any, said: str) -> None:
    request = pb.ModelInferRequest(model_name="toy")
    tensor = request.inputs.add(name="obs", datatype=datatype, shape=[1])
    getattr(tensor.contents, field).extend(values)
    error = refusal(request)
    assert (error.code, error.reason) == (Code.INVALID_ARGUMENT, "tensor")
    assert said in error.message


@given(st.lists(st.binary(max_size=9), max_size=9))
def test_framed_elements_come_back(elements: list[bytes]) -> None:
    assert unframe(frame(elements), len(elements), "x") == elements


@given(st.binary(max_size=40), st.integers(0, 2**40))
def test_anything_else_is_no_elements(data: bytes, count: int) -> None:
    try:
        elements = unframe(data, count, "x")
    except CallError:
        return
    assert len(elements) == count
    assert frame(elements) == data
