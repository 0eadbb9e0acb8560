from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.bundle.reference import CELLS
from steersman.bundle.specs import BoxAction, DiscreteAction, MultiDiscreteAction
from steersman.monitoring.bins import count_cells
from steersman.monitoring.blocks import (
    LATENCY_EDGES,
    MARGIN_EDGES,
    PHASES,
    BlockSpec,
    BlockView,
    PlacedBlock,
)
from steersman.monitoring.columns import choices
from steersman.monitoring.errors import MonitoringError
from steersman.monitoring.recorder import Recorder, Rows
from steersman.monitoring.reference import build_reference

ASSIGNED = ("none", "episode", "token")


def view_of(spec):
    return BlockView.of(np.zeros(spec.cells, np.int64), PlacedBlock(spec=spec, offset=0))


def codes(rng, rows, several):
    return rng.integers(0, several, rows).astype(np.int8)


@given(rows=st.integers(0, 70), seed=st.integers(0, 9))
def test_counts_equal_those_of_a_loop(spec_, contract, reference, rows, seed):
    rng = np.random.default_rng(seed)
    view = view_of(spec_)
    recorder = Recorder(view, {"greedy": reference}, contract)
    columns = [codes(rng, rows, 3) for _ in range(3)]
    _, fallbacks, errors = columns
    x = rng.normal(size=(rows, 3)) * 3
    x[rng.random(x.shape) < 0.1] = np.nan
    actions, answered = rng.integers(0, 3, rows), rng.random(rows) < 0.8
    starts, assigned = rng.random(rows) < 0.2, codes(rng, rows, len(ASSIGNED))
    recorder.record(Rows("greedy", columns[0], x, actions, fallbacks, errors, answered, starts, assigned))
    for counts, column in zip(
        (view.sources, view.fallback_reasons, view.error_reasons), columns, strict=True
    ):
        assert counts.tolist() == [column.tolist().count(code) for code in range(3)]
    assert (view.modes.tolist(), view.episodes.tolist()) == ([rows], [starts.sum()])
    assert view.assignments.tolist() == [assigned.tolist().count(code) for code in range(len(ASSIGNED))]
    assert (view.observation_cells[0] == count_cells(x, reference.feature_edges)).all()
    assert view.action_cells[0, 0].tolist() == [actions[answered].tolist().count(k) for k in range(3)]


@pytest.fixture(scope="module")
def spec_(contract):
    plain = BlockSpec(policy="p", version=1, lane="a", sources=("n", "p", "f"), reasons=("", "d", "m"))
    plain = plain.model_copy(update={"assigned_by": ASSIGNED})
    return plain.watching(contract, ("greedy",))


def test_columns_that_say_nothing_are_left_out(spec, contract, reference):
    view = view_of(spec)
    rows = Rows("greedy", np.ones(4, np.int8), np.zeros((4, 3)), np.zeros(4, np.int64))
    Recorder(view, {"greedy": reference}, contract).record(rows)
    assert not view.fallback_reasons.any()
    assert not view.error_reasons.any()
    assert not view.assignments.any()
    assert not view.episodes.any()
    assert view.action_cells[0, 0, 0] == 4


def test_a_mode_without_reference_is_decided_but_not_binned(spec, contract, reference):
    view = view_of(spec)
    rows = Rows(
        "sampled", np.ones(4, np.int8), np.zeros((4, 3)), np.zeros(4, np.int64), starts=np.ones(4, np.bool_)
    )
    Recorder(view, {"greedy": reference}, contract).record(rows)
    assert view.sources.tolist() == [0, 4, 0]
    assert not view.modes.any()
    assert not view.episodes.any()
    assert not view.observation_cells.any()


def test_images_are_counted_by_action_alone(spec, contract, reference):
    image = contract.observations[0].model_copy(update={"shape": (100,), "feature_names": ()})
    large = contract.model_copy(update={"observations": (image,)})
    nothing = [np.empty((30, 0))] * 5
    blind = build_reference(nothing, [np.zeros(30, np.int64)] * 5, large, replicates=100)
    view = view_of(spec.watching(large, ("greedy",)))
    recorder = Recorder(view, {"greedy": blind}, large)
    recorder.record(Rows("greedy", np.ones(2, np.int8), np.empty((2, 0)), np.array([1, 2])))
    assert view.observation_cells.shape == (1, 0, CELLS)
    assert view.modes.tolist() == [2]
    assert view.action_cells[0, 0].tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "action",
    [
        DiscreteAction(n=4, start=-2),
        MultiDiscreteAction(nvec=(2, 4)),
        BoxAction(shape=(2, 1), low=(-9.0,) * 2, high=(9.0,) * 2),
    ],
)
@pytest.mark.parametrize("rows", [1, 7])
def test_actions_of_every_kind(spec, with_action, action, rows):
    contract = with_action(action)
    rng = np.random.default_rng(0)

    def act(steps):
        if isinstance(action, BoxAction):
            return rng.normal(size=(steps, *action.shape)).astype(np.float32)
        picked = [rng.integers(0, width, steps) for width in action.mask_segments]
        return picked[0] - 2 if isinstance(action, DiscreteAction) else np.stack(picked, axis=1)

    reference = build_reference(
        [np.zeros((20, 3))] * 6, [act(20) for _ in range(6)], contract, replicates=100
    )
    view = view_of(spec.watching(contract, ("greedy",)))
    actions = act(rows)
    recorder = Recorder(view, {"greedy": reference}, contract)
    recorder.record(Rows("greedy", np.ones(rows, np.int8), np.zeros((rows, 3)), actions))
    if isinstance(action, BoxAction):
        flat = actions.reshape(rows, 2).astype(np.float64)
        assert (view.action_cells[0] == count_cells(flat, reference.action_edges)).all()
    else:
        for d, column in enumerate(choices(actions, contract).T.tolist()):
            assert view.action_cells[0, d].tolist() == [column.count(k) for k in range(4)]


@given(st.lists(st.floats(0, 3), min_size=1, max_size=20))
def test_latencies_fall_in_the_bucket_whose_edge_is_not_below(spec_, contract, reference, seconds):
    one_by_one, together = view_of(spec_), view_of(spec_)
    single, several = (Recorder(v, {"greedy": reference}, contract) for v in (one_by_one, together))
    for value in seconds:
        single.record_latency("infer", value, rows=1)
    several.record_latencies("infer", np.array(seconds))
    phase = PHASES.index("infer")
    at_most = [sum(value <= edge for value in seconds) for edge in LATENCY_EDGES]
    for view in (one_by_one, together):
        assert view.latency[phase].cumsum().tolist() == [*at_most, len(seconds)]
        assert view.latency_ns[phase] == pytest.approx(sum(seconds) * 1e9, abs=len(seconds))
        assert view.latency.sum() == len(seconds)


def test_a_group_shares_its_latency(spec, contract, reference):
    view = view_of(spec)
    Recorder(view, {"greedy": reference}, contract).record_latency("total", 0.002, rows=64)
    assert view.latency[PHASES.index("total"), LATENCY_EDGES.index(2.5e-3)] == 64
    assert view.latency_ns[PHASES.index("total")] == 64 * 2_000_000


def test_a_reference_that_does_not_fit_is_refused_at_once(spec, reference, with_action):
    other = with_action(DiscreteAction(n=2))
    with pytest.raises(MonitoringError, match="Export the policy again"):
        Recorder(view_of(spec.watching(other, ("greedy",))), {"greedy": reference}, other)


@pytest.fixture
def safe_view():
    spec = BlockSpec(
        policy="p",
        version=1,
        lane="a",
        sources=("n", "p", "f"),
        reasons=("", "d", "m"),
        constraints=("torque", "slew", "zone"),
        members=("rules", "constant"),
    )
    return view_of(spec)


def recorded(view, contract, **columns):
    rows = Rows("greedy", np.ones(4, np.int8), np.zeros((4, 3)), np.zeros(4, np.int64), **columns)
    Recorder(view, {}, contract).record(rows)
    return view


def test_rows_that_violate_were_shielded_or_fell_back(safe_view, contract):
    violated = np.array([-1, 0, 2, 2], np.int8)
    recorded(safe_view, contract, violated=violated, shielded_by=np.array([-1, -1, 2, -1], np.int8))
    assert safe_view.shielded.tolist() == [0, 0, 1]
    assert safe_view.constraint_fallbacks.tolist() == [1, 0, 1]
    recorded(safe_view, contract, violated=violated)
    assert safe_view.shielded.tolist() == [0, 0, 1]
    assert safe_view.constraint_fallbacks.tolist() == [2, 0, 3]


def test_margins_are_counted_by_constraint(safe_view, contract):
    margins = np.array([[-0.5, 0.0, 0.5, np.nan], [20.0] * 4, [np.nan] * 4])
    recorded(safe_view, contract, margins=margins)
    by_edge = dict(zip((*MARGIN_EDGES, np.inf, np.nan), safe_view.margins.T.tolist(), strict=True))
    assert by_edge.pop(-0.1) == by_edge.pop(0.0) == by_edge.pop(1.0) == [1, 0, 0]
    assert by_edge.pop(np.inf) == [0, 4, 0]
    assert safe_view.margins[:, -1].tolist() == [1, 0, 4]
    assert safe_view.margins.sum() == 12


def test_members_and_assumed_rows_are_counted(safe_view, contract):
    recorded(safe_view, contract, members=np.array([-1, 1, 1, 0], np.int8), assumed=3)
    assert safe_view.members.tolist() == [1, 2]
    assert safe_view.assumed.tolist() == [3]


def test_a_batch_without_safety_counts_none(safe_view, contract):
    recorded(safe_view, contract)
    for name in ("margins", "shielded", "constraint_fallbacks", "members", "assumed", "breaker_states"):
        assert not getattr(safe_view, name).any()


def test_the_breaker_shows_the_state_that_it_is_in(safe_view, contract):
    recorder = Recorder(safe_view, {}, contract)
    recorder.show_breaker("closed")
    assert safe_view.breaker_states.tolist() == [1, 0, 0]
    recorder.record_transition("closed", "open")
    recorder.record_transition("open", "half_open")
    recorder.record_transition("half_open", "open")
    assert safe_view.breaker_states.tolist() == [0, 0, 1]
    assert safe_view.breaker_transitions.tolist() == [1, 1, 1, 0]
    Recorder(safe_view, {}, contract).show_breaker(None)
    assert safe_view.breaker_states.tolist() == [0, 0, 0]
    assert safe_view.breaker_transitions.tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize(
    ("violated", "shielded_by", "shielded", "fallen"), [(1, 1, 1, 0), (1, -1, 0, 1), (-1, -1, 0, 0)]
)
def test_a_single_row_is_counted_likewise(safe_view, contract, violated, shielded_by, shielded, fallen):
    columns = {"violated": violated, "shielded_by": shielded_by, "members": violated}
    one = {name: np.array([code], np.int8) for name, code in columns.items()}
    Recorder(safe_view, {}, contract).record(
        Rows("greedy", np.ones(1, np.int8), np.zeros((1, 3)), np.zeros(1, np.int64), **one)
    )
    assert safe_view.shielded.tolist() == [0, shielded, 0]
    assert safe_view.constraint_fallbacks.tolist() == [0, fallen, 0]
    assert safe_view.members.tolist() == [0, int(violated == 1)]
