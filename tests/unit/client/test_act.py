from __future__ import annotations

import asyncio
import dataclasses
from concurrent import futures
from typing import Any

import gymnasium
import numpy as np
import pytest
from grpc import StatusCode

from steersman.client import (
    ClientError,
    Decision,
    Decisions,
    InvalidRequestError,
    RowFailedError,
    Source,
    plain,
)
from steersman.v1 import policy_pb2 as pb
from unit.client.conftest import Kit

NAN = float("nan")
OBSERVATION = [0.1, 0.3, 0.2, 9.0]


def sent(kit: Kit) -> Any:
    """The last `ActRequest`."""
    return kit.toy.of(pb.ActRequest)[-1]


def test_a_discrete_action_is_a_plain_int(kit: Kit) -> None:
    decision = kit.wait(kit.client.act("gate", OBSERVATION))
    assert type(decision.action) is int
    assert decision.action == 11
    assert gymnasium.spaces.Discrete(3, start=10).contains(decision.action)
    assert (decision.source, decision.reason, decision.version, decision.lane) == (
        Source.POLICY,
        "",
        7,
        "stable",
    )
    assert len(decision.decision_id) == 16
    for name in ("log_prob", "propensity", "value", "entropy", "distribution"):
        assert getattr(decision, name) is None
    assert decision.interventions == ()
    assert decision.episode_token == b""


def test_a_dict_space_takes_a_mapping_and_box_gives_an_array(kit: Kit) -> None:
    decision = kit.wait(kit.client.act("arm", {"pose": np.array([0.5, -1.0]), "gear": 3}))
    np.testing.assert_allclose(decision.action, [1.5, -3.0])
    assert gymnasium.spaces.Box(-5, 5, (2,)).contains(decision.action)
    decision.action[0] = 0  # one's own, to be changed at will
    request = sent(kit)
    assert list(request.observation_dict["pose"].shape) == [1, 2]
    assert request.observation_dict["gear"].dtype == pb.DTYPE_INT64
    assert list(request.observation_dict["gear"].shape) == [1]


def test_lists_images_and_multi_discrete(kit: Kit) -> None:
    decision = kit.wait(kit.client.act("memory", [[255, 0], [1, 2]]))
    assert decision.action.tolist() == [1, 0]
    assert gymnasium.spaces.MultiDiscrete([2, 3]).contains(decision.action)
    assert sent(kit).observation.data == bytes([255, 0, 1, 2])


@pytest.mark.parametrize(
    "observation",
    [
        OBSERVATION,
        tuple(OBSERVATION),
        np.array(OBSERVATION),
        np.array(OBSERVATION, ">f4"),
        np.array([OBSERVATION, OBSERVATION], np.float32, order="F")[0],
        np.repeat(np.array(OBSERVATION, np.float32), 2)[::2],
    ],
)
def test_every_form_of_an_observation_is_the_same_on_the_wire(kit: Kit, observation: Any) -> None:
    kit.wait(kit.client.act("gate", observation))
    tensor = sent(kit).observation
    assert tensor.data == np.array(OBSERVATION, "<f4").tobytes()
    assert (tensor.dtype, list(tensor.shape)) == (pb.DTYPE_FLOAT32, [1, 4])


@pytest.mark.parametrize(
    "mask", [[True, False, True], [1, 0, 1], np.array([[True, False, True]]), [1.0, 0.0, 1.0]]
)
def test_a_mask_is_obeyed(kit: Kit, mask: Any) -> None:
    assert kit.wait(kit.client.act("gate", OBSERVATION, action_mask=mask)).action == 12
    assert (sent(kit).action_mask.data, list(sent(kit).action_mask.shape)) == (b"\1\0\1", [1, 3])


def test_everything_that_is_asked_reaches_the_server(kit: Kit) -> None:
    decision = kit.wait(
        kit.client.act(
            "gate",
            OBSERVATION,
            mode="sampled",
            episode_id="canary-1",
            version=6,
            evidence=("value", "entropy", "distribution"),
        )
    )
    request = sent(kit)
    assert (request.policy, request.version, request.mode) == ("gate", 6, pb.ACTION_MODE_SAMPLED)
    assert list(request.evidence) == [pb.EVIDENCE_VALUE, pb.EVIDENCE_ENTROPY, pb.EVIDENCE_DISTRIBUTION]
    assert list(request.episode_ids) == ["canary-1"]
    assert [list(column) for column in (request.steps, request.episode_starts, request.episode_tokens)] == [
        []
    ] * 3
    assert (decision.source, decision.version, decision.lane) == (Source.EXPLORATION, 6, "canary")
    assert (decision.log_prob, decision.propensity) == (-0.5, 0.1)  # 0.1 exactly: a double
    assert (decision.value, decision.entropy) == (1.5, 0.25)
    assert decision.distribution.tolist() == [0, 1, 2]


def test_a_fallback_is_a_decision_that_says_why(kit: Kit) -> None:
    decision = kit.wait(kit.client.act("gate", [NAN, 0, 0, 0], action_mask=[1, 1, 0]))
    assert (decision.action, decision.source, decision.reason) == (
        11,
        Source.FALLBACK,
        "observation_non_finite",
    )
    (intervention,) = decision.interventions
    assert (intervention.layer, intervention.name, intervention.before) == ("fallback", "lean", None)
    assert (intervention.after.tolist(), intervention.margin) == (11, None)


def test_what_the_model_wanted_is_told_where_it_is_usable(kit: Kit) -> None:
    decision = kit.wait(kit.client.act("gate", [0, 1, 0, -1], action_mask=[1, 0, 1]))
    (intervention,) = decision.interventions
    assert (decision.action, decision.reason, intervention.reason) == (12, "action_masked", "action_masked")
    assert (intervention.before.tolist(), intervention.after.tolist()) == (11, 12)


def test_a_row_that_failed_is_an_error_with_its_reason(kit: Kit) -> None:
    with pytest.raises(RowFailedError, match="forbids every choice") as raised:
        kit.wait(kit.client.act("gate", OBSERVATION, action_mask=[0, 0, 0]))
    assert (raised.value.code, raised.value.reason) == (StatusCode.INVALID_ARGUMENT, "mask_all_false")
    assert not raised.value.retryable


def test_the_mark_alone_tells_a_row_that_failed_from_a_call_that_did(kit: Kit) -> None:
    def failing(reason: str, *marks: str) -> None:
        kit.toy.fail(StatusCode.FAILED_PRECONDITION, reason=reason, marks=marks)

    kit.wait(kit.client.describe("gate"))
    failing("of_a_newer_server", "row", "retryable")
    with pytest.raises(RowFailedError) as row:
        kit.wait(kit.client.act("gate", OBSERVATION))
    assert (row.value.reason, row.value.retryable) == ("of_a_newer_server", True)
    failing("no_feasible_action")
    with pytest.raises(ClientError) as call:
        kit.wait(kit.client.act("gate", OBSERVATION))
    assert type(call.value) is ClientError
    assert (call.value.reason, call.value.retryable) == ("no_feasible_action", False)
    failing("of_a_newer_server", "row", "retryable")
    (error,) = kit.wait(kit.client.act_batch("gate", [OBSERVATION])).errors
    assert (error.row, error.reason, error.code, error.retryable) == (
        0,
        "of_a_newer_server",
        StatusCode.FAILED_PRECONDITION,
        True,
    )
    failing("no_feasible_action")
    with pytest.raises(ClientError):
        kit.wait(kit.client.act_batch("gate", [OBSERVATION]))


def test_propensities_are_doubles(kit: Kit) -> None:
    decisions = kit.wait(kit.client.act_batch("gate", np.eye(2, 4), mode="sampled"))
    assert decisions.propensities.dtype == np.float64
    assert decisions.propensities.tolist() == [0.1, 0.1]
    assert (decisions[0].propensity, decisions.log_probs.dtype) == (0.1, np.float32)
    greedy = kit.wait(kit.client.act_batch("gate", np.eye(2, 4)))
    assert np.isnan(greedy.propensities).all()
    assert greedy[0].propensity is None
    failed = kit.wait(kit.client.act_batch("gate", [OBSERVATION], action_masks=[0, 0, 0]))
    assert failed.propensities.dtype == np.float64


@pytest.mark.parametrize("batch", [False, True])
def test_an_entropy_of_zero_has_no_sign(kit: Kit, batch: bool) -> None:
    kit.toy.answer_edits = {"entropies": [-0.0]}
    if batch:
        (decision,) = kit.wait(kit.client.act_batch("gate", [OBSERVATION], evidence=["entropy"]))
    else:
        decision = kit.wait(kit.client.act("gate", OBSERVATION, evidence=["entropy"]))
    assert str(decision.entropy) == "0.0"


def test_a_batch_gives_columns_and_rows(kit: Kit) -> None:
    rows = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, NAN, 0]])
    decisions = kit.wait(
        kit.client.act_batch("gate", rows, episode_ids=["a", "canary-b", ""], evidence=["value"])
    )
    assert decisions.actions.tolist() == [10, 11, 12]
    assert decisions.actions.dtype == np.int64
    assert decisions.sources == (Source.POLICY, Source.POLICY, Source.FALLBACK)
    assert decisions.reasons == ("", "", "observation_non_finite")
    assert decisions.lanes == ("stable", "canary", "stable")
    assert decisions.versions.tolist() == [7, 7, 7]
    np.testing.assert_array_equal(decisions.values, [1.5, NAN, NAN])
    assert decisions.entropies is None
    assert np.isnan(decisions.log_probs).all()
    assert len(decisions) == 3
    assert [decision.action for decision in decisions] == [10, 11, 12]
    assert [decision.value for decision in decisions] == [1.5, None, None]
    assert [len(decision.interventions) for decision in decisions] == [0, 0, 1]
    assert decisions[-1].reason == "observation_non_finite"
    assert not decisions.failed.any()
    with pytest.raises(IndexError):
        _ = decisions[3]


def test_a_batch_of_a_dict_space_and_one_mask_for_all(kit: Kit) -> None:
    decisions = kit.wait(kit.client.act_batch("arm", {"pose": [[1, 2], [3, 4]], "gear": [1, 2]}))
    assert decisions.actions.tolist() == [[1, 2], [6, 8]]
    assert decisions[1].action.tolist() == [6, 8]
    kit.wait(kit.client.act_batch("gate", np.eye(4), action_masks=[0, 1, 1]))
    assert (sent(kit).action_mask.data, list(sent(kit).action_mask.shape)) == (b"\0\1\1" * 4, [4, 3])


def test_a_row_that_failed_touches_no_other_and_is_never_taken_for_an_action(kit: Kit) -> None:
    masks = [[1, 1, 1], [0, 0, 0], [1, 1, 1]]
    decisions = kit.wait(kit.client.act_batch("gate", np.eye(3, 4), action_masks=masks))
    assert decisions.failed.tolist() == [False, True, False]
    assert [decisions[row].action for row in (0, 2)] == [10, 12]
    (error,) = decisions.errors
    assert (error.row, error.reason, error.code) == (1, "mask_all_false", StatusCode.INVALID_ARGUMENT)
    assert decisions.sources[1] == Source.NONE
    for take in (lambda: decisions[1], lambda: decisions[-2], lambda: list(decisions)):
        with pytest.raises(RowFailedError, match="forbids every choice"):
            take()


def test_a_batch_of_one_behaves_as_a_batch_of_many(kit: Kit) -> None:
    decisions = kit.wait(kit.client.act_batch("gate", [OBSERVATION], action_masks=[0, 0, 0]))
    assert decisions.failed.tolist() == [True]
    assert decisions.actions.tolist() == [0]
    assert (decisions.errors[0].reason, decisions.errors[0].row) == ("mask_all_false", 0)
    with pytest.raises(RowFailedError):
        _ = decisions[0]


def test_one_row_reads_the_same_alone_and_in_a_batch(kit: Kit) -> None:
    options: dict[str, Any] = {"mode": "sampled", "evidence": ("value", "entropy", "distribution")}
    client = kit.connect(ambient=kit.world.ambient())
    alone = plain(kit.wait(client.act("gate", [NAN, 0, 0, 0], **options)))
    batched = plain(kit.wait(client.act_batch("gate", [[NAN, 0, 0, 0]], **options))[0])
    assert alone.pop("decision_id") != batched.pop("decision_id")
    assert alone == batched


def test_what_a_policy_is_gets_asked_once(kit: Kit) -> None:
    for _ in range(3):
        kit.wait(kit.client.act("gate", OBSERVATION))
    assert len(kit.toy.of(pb.GetPolicyRequest)) == 1
    assert len(kit.toy.of(pb.ActRequest)) == 3


def test_what_a_policy_is_gets_asked_again_after_the_server_refused_a_call(kit: Kit) -> None:
    kit.wait(kit.client.act("gate", OBSERVATION))
    kit.toy.fail(StatusCode.INVALID_ARGUMENT, reason="observation_shape")
    with pytest.raises(InvalidRequestError):
        kit.wait(kit.client.act("gate", OBSERVATION))
    kit.wait(kit.client.act("gate", OBSERVATION))
    assert len(kit.toy.of(pb.GetPolicyRequest)) == 2


@pytest.mark.parametrize(
    "edits",
    [
        {"action": None},
        {"action": pb.Tensor(dtype=pb.DTYPE_INT64, data=b"\0" * 24)},
        {"sources": None},
        {"lanes": None},
        {"versions": None},
    ],
)
@pytest.mark.parametrize("batch", [False, True])
def test_an_answer_that_breaks_the_contract_is_told_from_a_bad_call(
    kit: Kit, edits: Any, batch: bool
) -> None:
    kit.toy.answer_edits = edits
    call = kit.client.act_batch if batch else kit.client.act
    with pytest.raises(ClientError, match="the server's answer has") as raised:
        kit.wait(call("gate", [OBSERVATION] * 2 if batch else OBSERVATION))
    assert raised.value.reason == "malformed_answer"


def test_a_source_that_a_newer_server_knows_is_unknown(kit: Kit) -> None:
    kit.toy.answer_edits = {"sources": [77]}
    assert kit.wait(kit.client.act("gate", OBSERVATION)).source == Source.UNKNOWN


def test_results_are_values(kit: Kit) -> None:
    decision = kit.wait(kit.client.act("gate", OBSERVATION))
    assert isinstance(decision, Decision)
    with pytest.raises(AttributeError):
        decision.action = 0  # type: ignore[misc]
    assert isinstance(kit.wait(kit.client.act_batch("gate", [OBSERVATION])), Decisions)


def test_calls_may_overlap(kit: Kit) -> None:
    rows = np.eye(3, 4)[[0, 1, 2] * 8]
    client = kit.connect(ambient=None)

    async def together() -> list[Decision]:
        return await asyncio.gather(*[client.act("gate", row) for row in rows])

    if kit.kind == "blocking":
        with futures.ThreadPoolExecutor(8) as pool:
            decisions = list(pool.map(lambda row: client.act("gate", row), rows))
    else:
        decisions = kit.wait(together())
    assert [decision.action for decision in decisions] == [10, 11, 12] * 8
    assert len({decision.decision_id for decision in decisions}) == 24


def test_what_is_printed_of_a_decision_shows_no_token(kit: Kit) -> None:
    decision = kit.wait(kit.client.act("gate", [0.0, 1.0, 0.0, 0.0], episode_id="e"))
    batch = kit.wait(kit.client.act_batch("gate", [[0.0, 1.0, 0.0, 0.0]], episode_ids=["e"]))
    for shown in (
        dataclasses.replace(decision, episode_token=b"secret"),
        dataclasses.replace(batch, episode_tokens=(b"secret",)),
    ):
        assert "secret" not in repr(shown)
        assert "version" in repr(shown)
