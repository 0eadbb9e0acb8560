"""Answers that are written without making the message are the very bytes of the message."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.serving.decision import REASONS, SOURCES, Decisions, Reason, RowError
from steersman.serving.rpc.convert import decode_call, encode_bytes, encode_decisions
from steersman.serving.rpc.wire import MOST_ROWS, encode_plainly
from steersman.v1 import policy_pb2 as pb

ACTION_TYPES = ("int64", "int32", "int8", "float32", "float64")


@st.composite
def decided(draw: st.DrawFn, most_rows: int = 5) -> Decisions:
    """Decisions of a few rows, with or without tokens."""
    rows = draw(st.integers(1, most_rows))
    shape = draw(st.sampled_from([(), (1,), (3,), (2, 130), (0,)]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    token = st.binary(max_size=300)
    return Decisions(
        actions=rng.integers(0, 100, (rows, *shape)).astype(draw(st.sampled_from(ACTION_TYPES))),
        sources=rng.integers(0, len(SOURCES), rows).astype(np.int8),
        reasons=rng.integers(0, len(REASONS), rows).astype(np.int8),
        versions=rng.integers(0, 2**40, rows),
        lanes=draw(st.lists(st.sampled_from(["stable", "canary", "ä"]), min_size=rows, max_size=rows)),
        decision_ids=rng.integers(0, 256, (rows, 16)).astype(np.uint8),
        log_probs=np.where(rng.random(rows) < 0.5, np.nan, rng.random(rows)).astype(np.float32),
        propensities=np.where(rng.random(rows) < 0.5, np.nan, rng.random(rows)),
        episode_tokens=draw(st.one_of(st.just([]), st.lists(token, min_size=rows, max_size=rows))),
    )


@given(decided(), st.one_of(st.just(0), st.integers(1, 2**64 - 1)))
def test_the_bytes_are_those_of_the_message(decisions: Decisions, correlation_id: int) -> None:
    request = pb.ActRequest(correlation_id=correlation_id)
    message = encode_decisions(decisions, request).SerializeToString()
    assert encode_plainly(decisions, correlation_id) == message
    assert encode_bytes(decisions, request) == message


@given(decided(most_rows=3), st.data())
def test_a_part_of_a_batch_is_written_like_any_other(decisions: Decisions, data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(decisions.lanes) - 1))
    part = decisions.rows(row, row + 1, frozenset())
    assert encode_plainly(part, 0) == encode_decisions(part, pb.ActRequest()).SerializeToString()


def plain(rows: int = 1) -> Decisions:
    return Decisions(
        actions=np.zeros(rows, np.int64),
        sources=np.ones(rows, np.int8),
        reasons=np.zeros(rows, np.int8),
        versions=np.ones(rows, np.int64),
        lanes=["stable"] * rows,
        decision_ids=np.zeros((rows, 16), np.uint8),
        log_probs=np.zeros(rows, np.float32),
        propensities=np.zeros(rows),
    )


def test_whatever_is_out_of_the_ordinary_is_left_to_the_message() -> None:
    assert encode_plainly(plain(), 0) is not None
    failed = plain()
    failed.errors = [RowError(0, Reason.MODEL_ERROR, "it broke")]
    evident = plain()
    evident.values = np.zeros(1, np.float32)
    for unusual in (failed, evident, plain(MOST_ROWS + 1)):
        assert encode_plainly(unusual, 0) is None
        assert (
            encode_bytes(unusual, pb.ActRequest())
            == encode_decisions(unusual, pb.ActRequest()).SerializeToString()
        )


def test_plain_numbers_are_answered_with_plain_numbers() -> None:
    request = pb.ActRequest(observation=pb.Tensor(values=[1.0]))
    assert pb.ActResponse.FromString(encode_bytes(plain(), request)).action.values == [0.0]


@pytest.mark.parametrize("data", [b"", b"\0\1\1", b"\0\2\xff", b"\1" * 100, b"\x80" * 7])
def test_truth_values_are_whatever_is_not_zero(data: bytes) -> None:
    request = pb.ActRequest(
        observation=pb.Tensor(values=[1.0]), action_mask=pb.Tensor(dtype=pb.DTYPE_BOOL, data=data)
    )
    mask = decode_call(request).action_mask
    assert mask is not None
    assert mask.elements.dtype == np.bool_
    assert mask.elements.tolist() == [byte != 0 for byte in data]
    assert not np.any(mask.elements.view(np.uint8) > 1)
