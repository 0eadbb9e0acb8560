"""Shadow lanes: what they see, what they are compared with, and that nobody is answered by them."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from steersman.bundle.specs import Contract
from steersman.serving.deciding.routing import PolicyRuntime, RoutingTable
from steersman.serving.decision import REASONS, SOURCES, Decisions, Reason, Source
from steersman.serving.rpc.convert import decode_call
from steersman.v1 import policy_pb2 as pb
from support.toy_bundle import discrete_contract
from unit.serving.conftest import make_call
from unit.serving.shadow_bench import OBSERVATIONS, OTHER, Bench, two_versions

NAN = float("nan")


@pytest.fixture(scope="module")
def same(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_versions(tmp_path_factory.mktemp("same"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_versions(tmp_path_factory.mktemp("other"), weights=OTHER)


@pytest.fixture
def bench(same: Path) -> Bench:
    """The shadow is the stable version once more."""
    return Bench(same)


@pytest.fixture
def differing(other: Path) -> Bench:
    """The shadow has a will of its own."""
    return Bench(other)


def test_a_shadow_of_the_same_version_agrees_with_everything(bench: Bench) -> None:
    bench.serve()
    bench.decide()
    bench.decide(OBSERVATIONS[:3], [[True, False, True]] * 3)
    bench.run()
    assert bench.outcomes() == {"agreed": 203}
    assert bench.sources() == {Source.POLICY: 203}


@pytest.mark.parametrize("policy", ["toy", "cont"])
def test_samples_are_coupled_by_their_random_numbers(bench: Bench, policy: str) -> None:
    bench.serve(policy, tolerance=0.0)
    bench.decide(np.zeros((150, 4)), mode="sampled", policy=policy)
    bench.decide(mode="sampled", policy=policy)
    bench.run()
    assert bench.outcomes(policy) == {"agreed": 350}


def test_another_version_disagrees_where_it_wants_something_else(differing: Bench) -> None:
    differing.serve()
    decisions = differing.decide()
    differing.run()
    wanted = (OBSERVATIONS @ OTHER).argmax(axis=1)
    disagreed = int(np.count_nonzero(wanted != decisions.actions))
    assert 0 < disagreed < 200
    assert differing.outcomes() == {"agreed": 200 - disagreed, "disagreed": disagreed}
    cells = differing.kit.counts("toy", "shadow").action_cells[0, 0]
    assert cells.tolist() == np.bincount(wanted, minlength=3).tolist()


def test_a_shadow_keeps_to_the_mask_of_the_row(differing: Bench) -> None:
    differing.serve()
    differing.decide(OBSERVATIONS, [[False, False, True]] * 200)
    differing.run()
    assert differing.outcomes() == {"agreed": 200}


def test_what_the_policy_did_not_answer_cannot_be_compared(bench: Bench) -> None:
    bench.serve()
    decisions = bench.decide([[1, 3, 2, 0], [NAN, 0, 0, 0]])
    assert [SOURCES[code] for code in decisions.sources] == [Source.POLICY, Source.FALLBACK]
    bench.decide([[1, 3, 2, 0]] * 2, refused=Reason.OVERLOAD)
    bench.run()
    assert bench.outcomes() == {"agreed": 1, "incomparable": 3}


def test_answers_are_bit_for_bit_what_they_are_without_a_shadow(differing: Bench) -> None:
    keys = [bytes([i]) for i in range(200)]
    evidence = frozenset({"value", "entropy", "distribution"})
    answers = []
    for share in (1.0, 0.0):
        differing.serve(share=share)
        decisions = differing.decide(mode="sampled", idempotency_keys=keys, evidence=evidence)
        differing.run()
        answers.append(decisions)
    assert differing.outcomes() == {}
    with_shadow, without = answers
    for name in ("actions", "sources", "reasons", "versions", "decision_ids", "log_probs", "propensities"):
        assert getattr(with_shadow, name).tobytes() == getattr(without, name).tobytes()
    for name in ("values", "entropies", "distribution"):
        assert getattr(with_shadow, name).tobytes() == getattr(without, name).tobytes()
    assert set(with_shadow.versions.tolist()) == {1}
    assert set(with_shadow.lanes) == {"stable"}


def test_a_version_in_the_shadow_cannot_be_asked_for(bench: Bench) -> None:
    bench.serve()
    (error,) = bench.kit.engine.decide([make_call([[0.0] * 4], version=2)])
    assert getattr(error, "reason", "") == "version_not_found"


def test_requests_may_be_gone_when_their_rows_are_compared(bench: Bench) -> None:
    bench.serve()
    request = pb.ActRequest(policy="toy")
    request.observation.CopyFrom(
        pb.Tensor(dtype=pb.DTYPE_FLOAT32, shape=OBSERVATIONS.shape, data=OBSERVATIONS.tobytes())
    )
    (decisions,) = bench.kit.engine.decide([decode_call(request)])
    assert isinstance(decisions, Decisions)
    decisions.actions[:] = -1
    del request, decisions
    gc.collect()
    bench.run()
    assert bench.outcomes() == {"agreed": 200}


def test_a_share_is_chosen_by_decision_id_and_only_grows(bench: Bench) -> None:
    bench.serve(share=0.25)
    keys = [i.to_bytes(4, "little") for i in range(200)]
    seen = []
    for share in (0.25, 0.25, 0.75):
        bench.serve(share=share)
        ids = bench.decide(idempotency_keys=keys).decision_ids
        bench.run()
        chosen = ids.view("<u4")[:, 0] < share * 2**32
        assert bench.outcomes() == {"agreed": int(np.count_nonzero(chosen))}
        seen.append(chosen)
    assert np.array_equal(seen[0], seen[1])
    assert not (seen[0] & ~seen[2]).any()
    assert 20 < np.count_nonzero(seen[0]) < 80


def test_a_row_that_somebody_else_answered_is_not_seen(bench: Bench) -> None:
    bench.serve()
    calls = [make_call(OBSERVATIONS[:rows]) for rows in (3, 5)]
    bench.kit.engine.decide(calls, lambda claimed: [call is calls[1] for call in claimed])
    bench.run()
    assert bench.outcomes() == {"agreed": 5}


def test_a_shadow_that_cannot_sample_is_not_compared_with_samples(tmp_path: Path) -> None:
    plain: Contract = discrete_contract().model_copy(update={"outputs": ("action", "distribution", "value")})
    bench = Bench(two_versions(tmp_path, contract=plain))
    bench.serve()
    bench.decide(mode="sampled")
    bench.decide()
    bench.run()
    assert bench.outcomes() == {"agreed": 200, "incomparable": 200}


@pytest.mark.parametrize("where", ["session", "safeguards"])
def test_a_shadow_that_fails_is_known_to_the_log_alone(
    bench: Bench, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    kit = bench.serve()
    policy = kit.engine.routing.ready("toy")
    assert policy.shadow is not None
    # defects, as nothing from outside could make them
    loaded = replace(policy.shadow.loaded, session=None)  # type: ignore[arg-type]
    broken = replace(policy.shadow, **({"loaded": loaded} if where == "session" else {where: None}))
    kit.engine.swap(RoutingTable(2, {"toy": PolicyRuntime(policy.route, (policy.stable, broken))}))
    for _ in range(5):
        assert bench.decide(OBSERVATIONS[:4]).actions.shape == (4,)
        bench.run()
    assert bench.outcomes() == {"incomparable": 20}
    (entry,) = [entry for entry in caplog.records if entry.levelname == "ERROR"]
    assert (entry.message, entry.__dict__["version"]) == (
        "a shadow failed; more within a minute is not logged",
        2,
    )
    bench.clocks.now_s += 60
    bench.decide()
    bench.run()
    assert caplog.text.count("a shadow failed") == 2
    if where == "session":
        reasons = kit.counts("toy", "shadow").fallback_reasons
        assert reasons[REASONS.index(Reason.MODEL_ERROR)] == 220


def test_an_offer_that_fails_reaches_no_caller(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.serve()
    bench.runner._queues = None  # type: ignore[assignment]
    assert bench.decide().actions.shape == (200,)
    assert "a shadow failed" in caplog.text
