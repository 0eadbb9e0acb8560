from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from steersman.bundle.specs import MultiDiscreteAction
from steersman.monitoring.bins import CELL_LABELS
from steersman.monitoring.blocks import BREAKER_STATES, Allocator, PlacedBlock
from steersman.monitoring.collector import SteersmanCollector
from steersman.monitoring.counters import Segment, Slot
from steersman.monitoring.drift import psi
from steersman.monitoring.reference import build_reference
from steersman.monitoring.series import ServedVersion


@dataclass
class Server:
    """What a supervisor has: a segment, a registry, and lists that change."""

    segment: Segment
    allocator: Allocator
    blocks: list[PlacedBlock] = field(default_factory=list)
    versions: list[ServedVersion] = field(default_factory=list)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self):
        self.registry.register(SteersmanCollector(self.segment, lambda: self.blocks, lambda: self.versions))

    def place(self, spec):
        self.blocks.append(self.allocator.place(spec))
        return [Slot.open(self.segment.path, i).block(self.blocks[-1]) for i in range(2)]

    def value(self, name, **labels):
        return self.registry.get_sample_value(name, {key: str(label) for key, label in labels.items()})

    def series(self):
        """Every series of a scrape; fails on one that occurs twice."""
        text = generate_latest(self.registry).decode()
        samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
        keys = [(s.name, *sorted(s.labels.items())) for s in samples]
        assert len(set(keys)) == len(keys)
        return dict(zip(keys, (s.value for s in samples), strict=True))


@pytest.fixture
def server(segment):
    return Server(segment, segment.allocator())


@pytest.fixture
def served(contract, reference):
    return ServedVersion("pole", 3, "int8", "ab" * 32, contract, {"greedy": reference})


LANE = {"policy": "pole", "version": 3, "lane": "stable"}


def test_workers_look_like_one(server, spec):
    first, second = server.place(spec)
    first.sources[1] += 5
    second.sources[1] += 2
    second.fallback_reasons[1] += 1
    second.error_reasons[2] += 4
    assert server.value("steersman_decisions_total", **LANE, source="policy") == 7
    assert server.value("steersman_fallbacks_total", **LANE, reason="deadline") == 1
    assert server.value("steersman_row_errors_total", **LANE, reason="action_masked") == 4


def test_known_series_are_there_from_the_start(server, spec):
    server.place(spec)
    for source in spec.sources:
        assert server.value("steersman_decisions_total", **LANE, source=source) == 0
    for label in CELL_LABELS:
        labels = {**LANE, "mode": "greedy", "feature": "speed", "bin": label}
        assert server.value("steersman_observation_bin_total", **labels) == 0
    assert server.value("steersman_calls_total", method="ActStream", code="internal") == 0
    assert server.value("steersman_fallbacks_total", **LANE, reason="") is None  # no reason is no series


def test_durations_are_a_histogram(server, spec):
    first, second = server.place(spec)
    first.latency[3, 0] += 2
    second.latency[3, 4] += 3
    second.latency[3, -1] += 1
    first.latency_ns[3] += 2_500_000_000
    name, labels = "steersman_decision_duration_seconds", {**LANE, "phase": "total"}
    assert server.value(f"{name}_bucket", **labels, le="5e-05") == 2
    assert server.value(f"{name}_bucket", **labels, le="0.001") == 5
    assert server.value(f"{name}_bucket", **labels, le="+Inf") == 6
    assert server.value(f"{name}_count", **labels) == 6
    assert server.value(f"{name}_sum", **labels) == 2.5


def test_bins_of_observations_and_actions(server, spec):
    view, _ = server.place(spec)
    view.observation_cells[0, 2, -1] += 3
    view.action_cells[0, 0, 1] += 8
    view.modes[0], view.episodes[0] = 8, 2
    mode = {**LANE, "mode": "greedy"}
    assert server.value("steersman_observation_bin_total", **mode, feature="angle", bin="nan") == 3
    assert server.value("steersman_action_bin_total", **mode, dimension="action", bin="1") == 8
    assert server.value("steersman_observations_total", **mode) == 8
    assert server.value("steersman_episodes_total", **mode) == 2


def test_the_reference_is_exported_beside_what_is_counted(server, served, reference):
    server.versions.append(served)
    labels = {"policy": "pole", "version": 3, "mode": "greedy"}
    shares = [
        server.value("steersman_reference_bin_ratio", **labels, feature="x", bin=b) for b in CELL_LABELS
    ]
    assert shares == pytest.approx(reference.feature_shares()[0])
    effect = server.value("steersman_reference_design_effect_ratio", **labels, feature="angle")
    assert effect == reference.feature_design_effect[2]
    action = server.value("steersman_reference_action_bin_ratio", **labels, dimension="action", bin="0")
    assert action == pytest.approx(0.5, abs=0.05)
    window = {"window_episodes": 25, "alarm_rate": 0.01}
    threshold = server.value("steersman_reference_psi_threshold", **labels, **window, feature="speed")
    assert threshold == reference.feature_thresholds[2, 0, 1]
    assert server.value("steersman_reference_steps", **labels) == reference.feature_counts[0].sum()
    info = {"policy": "pole", "version": 3, "variant": "int8", "digest": "ab" * 32}
    assert server.value("steersman_policy_version_info", **info) == 1


def test_psi_follows_from_the_exported_series_alone(server, spec, served, reference):
    """As a recording rule would compute it, with 0.5 added to each live count."""
    view, _ = server.place(spec)
    server.versions.append(served)
    view.observation_cells[0, 0] += np.arange(13)
    labels = {"policy": "pole", "version": 3, "mode": "greedy", "feature": "x"}
    live = [
        server.value("steersman_observation_bin_total", **labels, lane="stable", bin=b) for b in CELL_LABELS
    ]
    normal = [server.value("steersman_reference_bin_ratio", **labels, bin=b) for b in CELL_LABELS]
    shares = [(n + 0.5) / (sum(live) + 0.5 * len(live)) for n in live]
    by_rule = sum((p - q) * math.log(p / q) for p, q in zip(shares, normal, strict=True))
    assert by_rule == pytest.approx(float(psi(view.observation_cells[0, 0], reference.feature_counts[0])))


def test_thresholds_that_cannot_tell_are_absent(server, contract, simulate):
    observations = simulate(np.random.default_rng(0), 4)
    few = build_reference(observations, [np.zeros(len(x), np.int64) for x in observations], contract)
    server.versions.append(ServedVersion("pole", 3, "fp32", "", contract, {"greedy": few}))
    names = {key[0] for key in server.series()}
    assert "steersman_reference_bin_ratio" in names
    assert "steersman_reference_psi_threshold" not in names


def test_workers_are_seen_one_by_one(server, segment):
    process = Slot.open(segment.path, 1).process
    assert server.value("steersman_worker_starts_total", worker=1) == 0
    assert server.value("steersman_worker_ready_timestamp_seconds", worker=1) is None
    process.begin(pid=9)
    process.resident_bytes, process.ready_unix_ns = 100_000_000, 1_700_000_000_500_000_000
    process.heartbeat_ns = time.monotonic_ns() - 60_000_000_000
    process.count_call(0, 0)
    assert server.value("steersman_worker_starts_total", worker=1) == 1
    assert server.value("steersman_worker_resident_memory_bytes", worker=1) == 100_000_000
    assert server.value("steersman_worker_ready_timestamp_seconds", worker=1) == 1_700_000_000.5
    heartbeat = server.value("steersman_worker_heartbeat_timestamp_seconds", worker=1)
    assert time.time() - heartbeat == pytest.approx(60, abs=5)
    assert server.value("steersman_calls_total", method="Act", code="ok") == 1
    assert server.value("steersman_worker_resident_memory_bytes", worker=0) is None


def test_blocks_that_share_labels_are_one_series(server, spec):
    """A version whose spec changed counts in a new block; what it counted before is still there."""
    older, _ = server.place(spec)
    newer, _ = server.place(spec.model_copy(update={"reasons": (*spec.reasons, "overload")}))
    older.sources[1] += 3
    newer.sources[1] += 4
    newer.latency[0, 0] += 1
    older.latency[0, 0] += 1
    assert server.value("steersman_decisions_total", **LANE, source="policy") == 7
    labels = {**LANE, "phase": "queue"}
    assert server.value("steersman_decision_duration_seconds_count", **labels) == 2
    assert server.value("steersman_fallbacks_total", **LANE, reason="overload") == 0
    server.series()


def test_a_version_that_comes_back_goes_on_counting(server, spec):
    view, _ = server.place(spec)
    view.sources[1] += 3
    server.blocks.clear()
    assert server.value("steersman_decisions_total", **LANE, source="policy") is None
    again, _ = server.place(spec)
    again.sources[1] += 1
    assert server.value("steersman_decisions_total", **LANE, source="policy") == 4


def test_counters_never_go_backwards_over_restarts_and_new_blocks(server, spec):
    rng = np.random.default_rng(0)
    views, last = server.place(spec), {}
    for step in range(20):
        if step % 5 == 4:
            views = server.place(spec.model_copy(update={"version": step}))
            Slot.open(server.segment.path, step % 2).process.begin(pid=step)
        for name in spec.shapes():
            counts = getattr(views[step % 2], name)
            counts += rng.integers(0, 9, counts.shape)
        now = server.series()
        counters = {k: v for k, v in now.items() if k[0].endswith(("_total", "_bucket", "_count", "_sum"))}
        assert all(counters[key] >= value for key, value in last.items())
        last = counters


def test_dimensions_export_the_cells_that_they_have(server, spec, with_action, simulate):
    contract = with_action(MultiDiscreteAction(nvec=(2, 4), names=("gear", "lights")))
    rng = np.random.default_rng(0)
    observations = simulate(rng, 6)
    actions = [rng.integers(0, (2, 4), (len(x), 2)) for x in observations]
    made = build_reference(observations, actions, contract, replicates=100)
    server.place(spec.watching(contract, ("greedy",)))
    server.versions.append(ServedVersion("pole", 3, "fp32", "", contract, {"greedy": made}))
    for name in ("steersman_action_bin_total", "steersman_reference_action_bin_ratio"):
        found = [dict(key[1:]) for key in server.series() if key[0] == name]
        assert sorted((labels["dimension"], labels["bin"]) for labels in found) == [
            *(("gear", str(k)) for k in range(2)),
            *(("lights", str(k)) for k in range(4)),
        ]


def test_registering_reads_no_counters_and_refuses_a_twin(server, segment):
    def never():
        raise AssertionError("asked before the first scrape")

    with pytest.raises(ValueError, match="Duplicated timeseries"):
        server.registry.register(SteersmanCollector(segment, never, never))


def test_both_text_formats_hold_every_family(server, spec, served):
    server.place(spec)
    server.versions.append(served)
    assert b"steersman_decisions_total{" in openmetrics.generate_latest(server.registry)
    text = generate_latest(server.registry).decode()
    assert "# TYPE steersman_decision_duration_seconds histogram" in text
    assert server.value("steersman_collector_duration_seconds") > 0


@pytest.fixture
def safe(spec):
    return spec.model_copy(update={"constraints": ("torque", "slew"), "members": ("rules", "constant")})


def test_margins_are_a_histogram_without_sum(server, safe):
    first, second = server.place(safe)
    first.margins[0, [0, 4, 10]] += (1, 2, 5)
    second.margins[0, 9] += 4
    name, labels = "steersman_constraint_margin", {**LANE, "constraint": "torque"}
    assert server.value(f"{name}_bucket", **labels, le="-10.0") == 1
    assert server.value(f"{name}_bucket", **labels, le="0.0") == 3
    assert server.value(f"{name}_bucket", **labels, le="+Inf") == 7, (
        "rows that it does not apply to are left out"
    )
    assert server.value(f"{name}_bucket", **{**labels, "constraint": "slew"}, le="+Inf") == 0
    assert server.value(f"{name}_sum", **labels) is None


def test_what_safety_did_is_told_by_name(server, safe):
    first, second = server.place(safe)
    first.shielded[1] += 2
    second.constraint_fallbacks[0] += 3
    second.members[1] += 4
    first.assumed[0] += 5
    assert server.value("steersman_constraint_shielded_total", **LANE, constraint="slew") == 2
    assert server.value("steersman_constraint_fallbacks_total", **LANE, constraint="torque") == 3
    assert server.value("steersman_fallback_members_total", **LANE, member="constant") == 4
    assert server.value("steersman_safety_memory_assumed_total", **LANE) == 5


def test_breakers_are_seen_as_workers_in_each_state(server, safe):
    first, second = server.place(safe)
    first.breaker_states[:] = second.breaker_states[:] = (0, 0, 1)
    assert server.value("steersman_breaker_workers", **LANE, state="open") == 2
    second.breaker_states[:] = (1, 0, 0)
    first.breaker_transitions[0] = second.breaker_transitions[0] = 1
    states = {
        state: server.value("steersman_breaker_workers", **LANE, state=state) for state in BREAKER_STATES
    }
    assert states == {"closed": 1, "half_open": 0, "open": 1}
    change = {**LANE, "from": "closed", "to": "open"}
    assert server.value("steersman_breaker_transitions_total", **change) == 2
    back = {**LANE, "from": "half_open", "to": "closed"}
    assert server.value("steersman_breaker_transitions_total", **back) == 0


def test_of_two_blocks_of_a_lane_the_later_one_says_how_its_breaker_is(server, safe):
    older, _ = server.place(safe)
    newer, _ = server.place(safe.model_copy(update={"constraints": ("torque",)}))
    older.breaker_states[:], older.shielded[:] = (0, 0, 1), 3
    newer.breaker_states[:], newer.shielded[:] = (1, 0, 0), 4
    assert server.value("steersman_breaker_workers", **LANE, state="open") == 0
    assert server.value("steersman_constraint_shielded_total", **LANE, constraint="torque") == 7
    assert server.value("steersman_constraint_shielded_total", **LANE, constraint="slew") == 3


def test_a_strict_reader_takes_the_metrics(server, safe, served):
    """OpenMetrics forbids, among others, sums of histograms that have edges below 0."""
    server.place(safe)
    server.versions.append(served)
    text = openmetrics.generate_latest(server.registry).decode()
    families = {family.name for family in openmetrics_families(text)}
    assert {"steersman_constraint_margin", "steersman_breaker_workers"} <= families
