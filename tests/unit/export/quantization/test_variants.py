"""Gates, the choice among what passes, and a whole choice with everything that is reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from steersman.bundle.certificate import Certificate
from steersman.bundle.manifest import Flips
from steersman.export.evidence.comparison import Baseline, Evidence, measure_baseline
from steersman.export.evidence.returns import Act
from steersman.export.policies.inputs import Inputs
from steersman.export.quantization import variants
from steersman.export.quantization.dynamic import make_dynamic, mutual_influence
from steersman.export.quantization.variants import Candidate, Choice, choose_variants, fastest, gate
from steersman.export.vocabulary import Scheme
from unit.export.conftest import Graph
from unit.export.models import CASES, Graphed

Array = NDArray[Any]


def evidence(states: int, flips: int, upper: float) -> Evidence:
    return Evidence(Flips(states=states, flips=flips, ties=0, upper_95=upper), 0.0, 0.0)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (evidence(10_000, 20, 0.0049), None),
        (evidence(10_000, 0, 0.005), None),
        (evidence(10_000, 45, 0.00501), "45 of 10000 decisions flip, at most 0.50% with 95 %"),
        (evidence(9_999, 0, 0.0003), "only 9999 states"),
    ],
)
def test_the_gate(found: Evidence, reason: str | None) -> None:
    verdict = gate(found)
    assert (verdict or "").startswith(reason or "")
    assert (verdict is None) == (reason is None)


@pytest.fixture
def candidate() -> Callable[..., Candidate]:
    def make(scheme: Scheme, microseconds: float, upper: float, size: int = 10) -> Candidate:
        session: Any = None
        plain = Candidate(scheme, b"x" * size, session, evidence(10_000, 0, upper))
        return replace(plain, latency_us={1: microseconds, 32: 1.0})

    return make


def test_the_fastest_wins(candidate: Callable[..., Candidate]) -> None:
    slow = candidate(Scheme.WEIGHT_ONLY, 12.0, 0.0)
    fast = candidate(Scheme.STATIC_QDQ, 10.0, 0.004)
    assert fastest([slow, fast]) is fast
    assert fastest([]) is None


def test_among_equally_fast_ones_fewer_flips_win_and_then_size(candidate: Callable[..., Candidate]) -> None:
    steady = candidate(Scheme.WEIGHT_ONLY, 10.9, 0.001)
    fast = candidate(Scheme.STATIC_QDQ, 10.0, 0.004)
    small = candidate(Scheme.STATIC_QDQ_HIDDEN, 10.5, 0.001, size=5)
    assert fastest([fast, steady]) is steady
    assert fastest([fast, steady, small]) is small


def baseline_of(made: Graphed, rows: int) -> Baseline:
    return measure_baseline(made.session, Inputs(made.observations(rows)), np.arange(rows) // 20)


def chosen(made: Graphed, rows: int = 10_100, **options: Any) -> Choice:
    names, inputs = made.bench.contract.outputs, made.inputs(64).feeds()
    answers = dict(zip(names, made.session.run(names, inputs), strict=True))
    return choose_variants(
        made.bench,
        made.bench.candidate(made.bench.model, Scheme.FLOAT32),
        baseline_of(made, rows),
        Certificate(inputs, answers, np.zeros(64, np.bool_)),
        calibration=Inputs(made.observations(2_000, seed=9)),
        **options,
    )


@pytest.fixture(scope="module")
def plain(graph: Graph) -> Graphed:
    return graph(CASES[0])


@pytest.fixture(scope="module")
def told() -> list[tuple[str, float]]:
    return []


@pytest.fixture(scope="module")
def choice(plain: Graphed, told: list[tuple[str, float]]) -> Choice:
    """A whole choice, with episodes that everyone plays equally well."""

    def returns_of(act: Act) -> Array:
        actions = act(Inputs(plain.observations(8))).actions
        return 100.0 + np.zeros(len(actions))

    return chosen(plain, returns_of=returns_of, progress=lambda what, share: told.append((what, share)))


def test_everything_is_reported_for_every_variant(choice: Choice) -> None:
    assert choice.int8 is not None
    tried = {r.scheme: r for r in choice.rejected}
    possible = set(Scheme) - {Scheme.FLOAT32, Scheme.STATIC_QDQ_CONV}  # there are no convolutions
    assert {choice.int8.scheme, *tried} == possible
    for rejected in tried.values():
        assert rejected.reason
        assert rejected.size_bytes
        assert set(rejected.latency_us) == {1, 32}
        assert rejected.flips is not None
        assert rejected.max_error is not None
        assert rejected.mean_total_variation is not None
        assert rejected.returns is not None
    assert choice.fp32.returns is not None
    assert choice.fp32.returns.difference is None
    assert choice.int8.returns is not None
    assert choice.int8.returns.difference == 0


def test_dynamic_quantization_is_measured_and_left_out(choice: Choice) -> None:
    dynamic = next(r for r in choice.rejected if r.scheme == Scheme.DYNAMIC)
    assert dynamic.reason.startswith("its scale spans the batch, so rows influence each other: ")
    assert "never shipped" in dynamic.reason


def test_progress_says_what_is_going_on(choice: Choice, told: list[tuple[str, float]]) -> None:
    assert choice
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert shares[-1] < 1
    assert {"Trying 8-bit with convolutions", "Timing the variants"} <= {what for what, _ in told}
    assert "Playing episodes with weight_only" in {what for what, _ in told}


def test_a_variant_that_earns_less_is_left_out(plain: Graphed) -> None:
    played: list[Act] = []

    def returns_of(act: Act) -> Array:
        played.append(act)
        return np.full(10, 100.0 if len(played) == 1 else 98.0)

    choice = chosen(plain, returns_of=returns_of)
    assert choice.int8 is None
    reasons = {r.scheme: r.reason for r in choice.rejected}
    assert "the mean return over 10 paired episodes changes by -2" in reasons[Scheme.WEIGHT_ONLY]


def test_without_an_environment_there_are_no_returns_and_no_return_gate(plain: Graphed) -> None:
    choice = chosen(plain)
    assert choice.int8 is not None
    assert choice.int8.returns is None


def test_too_few_states_prove_nothing(plain: Graphed) -> None:
    choice = chosen(plain, rows=200)
    assert choice.int8 is None
    assert "only 200 states" in next(r.reason for r in choice.rejected if r.scheme == Scheme.WEIGHT_ONLY)


def test_eight_bits_can_be_declined(plain: Graphed) -> None:
    choice = chosen(plain, rows=200, int8=False)
    assert choice.int8 is None
    assert choice.rejected == ()
    assert set(choice.fp32.latency_us) == {1, 32}


def test_a_variant_that_cannot_be_made_costs_no_other(plain: Graphed, monkeypatch: Any) -> None:
    def broken(*_: Any) -> onnx.ModelProto:
        return helper.make_model(helper.make_graph([], "empty", [], []))

    monkeypatch.setattr(variants, "make_dynamic", broken)
    choice = chosen(plain, rows=200)
    reasons = {r.scheme: r.reason for r in choice.rejected}
    assert reasons[Scheme.DYNAMIC].startswith("it could not be made: ")
    assert "only 200 states" in reasons[Scheme.WEIGHT_ONLY]


def test_rows_of_a_dynamic_graph_do_influence_each_other(graph: Graph) -> None:
    made = graph(CASES[1])
    model = make_dynamic(made.bench.model)
    assert model is not None
    session = made.bench.candidate(model, Scheme.DYNAMIC).session
    words = mutual_influence(session, baseline_of(made, 2_000)).split()
    changed, asked = int(words[words.index("of") - 1]), int(words[words.index("of") + 1])
    assert 0 < changed < asked
    assert asked == 1_000
