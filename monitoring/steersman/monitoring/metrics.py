"""Every metric that Steersman exports, in one table, which the collector and the documentation are made from.

Names follow Prometheus: one prefix, base units, `_total` for counters, times instead of ages. Series are
bounded by what is deployed, never by what clients send: reasons, sources and codes are closed sets, and an
unknown policy has no series.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: As it appears in `/metrics`; of a histogram, without `_bucket`, `_sum` and `_count`.
        type: Prometheus' type.
        labels: Names of its labels.
        help: What it tells, and how to read it.
        unit: Base unit, empty for a plain number.
    """

    name: str
    type: Literal["counter", "gauge", "histogram", "info"]
    labels: tuple[str, ...]
    help: str
    unit: str = ""


_LANE = ("policy", "version", "lane")
_REFERENCE = ("policy", "version", "mode")

DECISIONS = Metric(
    "steersman_decisions_total",
    "counter",
    (*_LANE, "source"),
    "Rows decided, by who made the action. Source `none` counts rows that failed; all sources together are "
    "the rows that arrived.",
)
FALLBACKS = Metric(
    "steersman_fallbacks_total",
    "counter",
    (*_LANE, "reason"),
    "Rows that the fallback chain had to answer, by the reason why the policy did not.",
)
ROW_ERRORS = Metric(
    "steersman_row_errors_total",
    "counter",
    (*_LANE, "reason"),
    "Rows that got no action, by reason. Calls that were refused as a whole are in steersman_calls_total.",
)
ASSIGNMENTS = Metric(
    "steersman_assignments_total",
    "counter",
    (*_LANE, "by"),
    "Rows by how they found their lane: `none` they name no episode, `request` the call asked for the "
    "version, `episode` the id of their episode, `token` its token, `cut` its token, whose version is gone.",
)
SHADOW_ROWS = Metric(
    "steersman_shadow_rows_total",
    "counter",
    (*_LANE, "outcome"),
    "Rows that the shadow lane was offered, by what came of it: `agreed` or `disagreed` with the action that "
    "was answered, `incomparable` where a policy did not make one of the two, `dropped` for want of time.",
)
DURATION = Metric(
    "steersman_decision_duration_seconds",
    "histogram",
    (*_LANE, "phase"),
    "Time that a decision took, per row: `queue` waiting for the engine, `infer` the model, `protect` mask "
    "and constraints, `total` all of it. Rows decided together share their time.",
    "seconds",
)
OBSERVATIONS = Metric(
    "steersman_observations_total",
    "counter",
    (*_LANE, "mode"),
    "Observations counted in bins; only modes that have a reference are.",
)
EPISODES = Metric(
    "steersman_episodes_total",
    "counter",
    (*_LANE, "mode"),
    "Episodes begun, in modes that have a reference. Drift thresholds are stated per number of episodes.",
)
OBSERVATION_BINS = Metric(
    "steersman_observation_bin_total",
    "counter",
    (*_LANE, "mode", "feature", "bin"),
    "Observations by feature and bin. Bins 1 to 10 lie between quantiles of the reference; `underflow` and "
    "`overflow` beyond the outer ones; `nan` counts NaN.",
)
ACTION_BINS = Metric(
    "steersman_action_bin_total",
    "counter",
    (*_LANE, "mode", "dimension", "bin"),
    "Actions that left the server, by dimension and bin: the choice itself for discrete actions, bins as for "
    "observations for continuous ones.",
)
CONSTRAINT_MARGIN = Metric(
    "steersman_constraint_margin",
    "histogram",
    (*_LANE, "constraint"),
    "How far the action that the policy wanted kept from the constraint, per row to which it applies, in the "
    "constraint's own unit; negative where it is violated. Bucket 0 also holds actions right at the limit. "
    "There is no sum.",
)
SHIELDED = Metric(
    "steersman_constraint_shielded_total",
    "counter",
    (*_LANE, "constraint"),
    "Rows whose action was changed so that it keeps the constraint.",
)
CONSTRAINT_FALLBACKS = Metric(
    "steersman_constraint_fallbacks_total",
    "counter",
    (*_LANE, "constraint"),
    "Rows that the policy did not answer, for its action violated the constraint, which has no shield or one "
    "that found no other action.",
)
MEMORY_ASSUMED = Metric(
    "steersman_safety_memory_assumed_total",
    "counter",
    _LANE,
    "Rows of whose episode nothing was known, as without a token, although constraints ask: the deployment's "
    "conservative values stood in.",
)
FALLBACK_MEMBERS = Metric(
    "steersman_fallback_members_total",
    "counter",
    (*_LANE, "member"),
    "Rows that the fallback chain answered, by the member of the chain.",
)
BREAKER_TRANSITIONS = Metric(
    "steersman_breaker_transitions_total",
    "counter",
    (*_LANE, "from", "to"),
    "Times that a worker's breaker of the version changed its state: `closed`, `open` or `half_open`. The "
    "lanes of a version share a breaker.",
)
BREAKER_WORKERS = Metric(
    "steersman_breaker_workers",
    "gauge",
    (*_LANE, "state"),
    "Workers in which the version's breaker is `closed`, `half_open` or `open`. All are 0 where none is "
    "configured. Without calls a breaker stays as it is.",
)
REFERENCE_BINS = Metric(
    "steersman_reference_bin_ratio",
    "gauge",
    (*_REFERENCE, "feature", "bin"),
    "Share of the reference's observations in each bin, 0.5 added to each count so that none is zero.",
    "ratio",
)
REFERENCE_ACTION_BINS = Metric(
    "steersman_reference_action_bin_ratio",
    "gauge",
    (*_REFERENCE, "dimension", "bin"),
    "Share of the reference's actions in each bin, 0.5 added to each count so that none is zero.",
    "ratio",
)
REFERENCE_DESIGN_EFFECT = Metric(
    "steersman_reference_design_effect_ratio",
    "gauge",
    (*_REFERENCE, "feature"),
    "How many correlated steps tell as much as one independent step: mean Rao-Scott design effect of the bin "
    "shares, times 1 + a^2 (second order). Divide steps by it before any chi-squared test.",
    "ratio",
)
REFERENCE_DEGREES_OF_FREEDOM = Metric(
    "steersman_reference_degrees_of_freedom",
    "gauge",
    (*_REFERENCE, "feature"),
    "Satterthwaite degrees of freedom of a chi-squared test of the bin shares.",
)
REFERENCE_PSI_THRESHOLD = Metric(
    "steersman_reference_psi_threshold",
    "gauge",
    (*_REFERENCE, "feature", "window_episodes", "alarm_rate"),
    "PSI that a window of so many undrifted episodes exceeds in any feature with probability alarm_rate, "
    "corrected over features. Absent where the reference has too few episodes or too many features.",
)
REFERENCE_ACTION_PSI_THRESHOLD = Metric(
    "steersman_reference_action_psi_threshold",
    "gauge",
    (*_REFERENCE, "dimension", "window_episodes", "alarm_rate"),
    "PSI that a window of so many undrifted episodes exceeds in any action dimension with probability "
    "alarm_rate, corrected over dimensions. Absent where the reference has too few episodes.",
)
REFERENCE_STEPS = Metric(
    "steersman_reference_steps",
    "gauge",
    _REFERENCE,
    "Steps in the reference. A test on a window of n steps has the strength of 1 / (1/n + 1/this).",
)
REFERENCE_EPISODES = Metric(
    "steersman_reference_episodes",
    "gauge",
    _REFERENCE,
    "Episodes in the reference.",
)
POLICY_VERSION = Metric(
    "steersman_policy_version_info",
    "info",
    ("policy", "version", "variant", "digest"),
    "A version that is loaded: the variant that answers (fp32 or int8), and the SHA-256 of its manifest.",
)
LANE_SHARE = Metric(
    "steersman_lane_share_ratio",
    "gauge",
    _LANE,
    "Share of the episodes that are assigned to the lane; of a shadow lane the share of decisions that it "
    "sees.",
    "ratio",
)
DEPLOYMENT_REVISION = Metric(
    "steersman_deployment_revision",
    "gauge",
    ("policy",),
    "Revision of the policy's deployment that is in force; it grows with each change. 0 where none was "
    "applied.",
)
ROUTING_GENERATION = Metric(
    "steersman_routing_generation",
    "gauge",
    (),
    "Number of the routing snapshot in force; it grows with each change of what runs.",
)
WORKERS_CURRENT = Metric(
    "steersman_workers_current",
    "gauge",
    (),
    "Workers that use the routing snapshot in force. Less than there are for longer than loading takes means "
    "that a change does not get through.",
)
STORE_UP = Metric(
    "steersman_store_up",
    "gauge",
    (),
    "Is 1 while the store of deployments can be used. While it is 0 what is in force goes on being served, "
    "and changes are refused.",
)
VERSION_REFUSED = Metric(
    "steersman_version_refused",
    "gauge",
    ("policy", "version", "reason"),
    "Is 1 for a version that is wanted and refused, by the kind of reason; what served before goes on. "
    "Version 0 stands for none that could be found.",
)
KILL_SWITCH = Metric(
    "steersman_kill_switch",
    "gauge",
    (),
    "Is 1 while the kill switch is on: no policy answers, and every row gets what the fallback chain says.",
)
OVERRIDES = Metric(
    "steersman_overrides",
    "gauge",
    ("policy", "scope", "kind"),
    "Overrides by people that are in force: `kind` is what they order, `pin` an action, the `fallback` or to "
    "`freeze` a version; `scope` for whom, the `policy`, a `lane` or an `episode`.",
)
OVERRIDE_EXPIRY = Metric(
    "steersman_override_expiry_timestamp_seconds",
    "gauge",
    ("policy",),
    "Unix time at which the first of the policy's overrides ends by itself. Absent where there is none.",
    "seconds",
)
LEASE_EXPIRY = Metric(
    "steersman_lease_expiry_timestamp_seconds",
    "gauge",
    ("policy",),
    "Unix time at which autonomous operation ends unless somebody renews the lease, or ended. Absent where "
    "the deployment asks for no lease.",
    "seconds",
)
LEASE_EXPIRED = Metric(
    "steersman_lease_expired",
    "gauge",
    ("policy",),
    "Is 1 while nobody has renewed the policy's lease in time: autonomous operation has ended.",
)
CALLS = Metric(
    "steersman_calls_total",
    "counter",
    ("method", "code"),
    "Calls answered over gRPC, by method and status code.",
)
WORKER_STARTS = Metric(
    "steersman_worker_starts_total",
    "counter",
    ("worker",),
    "Processes that took this worker's place since the server started; more than 1 means it was restarted.",
)
WORKER_READY = Metric(
    "steersman_worker_ready_timestamp_seconds",
    "gauge",
    ("worker",),
    "Unix time since which the worker answers calls. Absent while it is not ready.",
    "seconds",
)
WORKER_HEARTBEAT = Metric(
    "steersman_worker_heartbeat_timestamp_seconds",
    "gauge",
    ("worker",),
    "Unix time at which the worker's engine last showed that it is alive. Absent before the first time.",
    "seconds",
)
WORKER_MEMORY = Metric(
    "steersman_worker_resident_memory_bytes",
    "gauge",
    ("worker",),
    "Resident memory of the worker's process.",
    "bytes",
)
COLLECTOR_DURATION = Metric(
    "steersman_collector_duration_seconds",
    "gauge",
    (),
    "Time that collecting these metrics took, this time.",
    "seconds",
)

METRICS: tuple[Metric, ...] = (
    DECISIONS,
    FALLBACKS,
    ROW_ERRORS,
    ASSIGNMENTS,
    SHADOW_ROWS,
    DURATION,
    OBSERVATIONS,
    EPISODES,
    OBSERVATION_BINS,
    ACTION_BINS,
    CONSTRAINT_MARGIN,
    SHIELDED,
    CONSTRAINT_FALLBACKS,
    MEMORY_ASSUMED,
    FALLBACK_MEMBERS,
    BREAKER_TRANSITIONS,
    BREAKER_WORKERS,
    REFERENCE_BINS,
    REFERENCE_ACTION_BINS,
    REFERENCE_DESIGN_EFFECT,
    REFERENCE_DEGREES_OF_FREEDOM,
    REFERENCE_PSI_THRESHOLD,
    REFERENCE_ACTION_PSI_THRESHOLD,
    REFERENCE_STEPS,
    REFERENCE_EPISODES,
    POLICY_VERSION,
    LANE_SHARE,
    DEPLOYMENT_REVISION,
    ROUTING_GENERATION,
    WORKERS_CURRENT,
    STORE_UP,
    VERSION_REFUSED,
    KILL_SWITCH,
    OVERRIDES,
    OVERRIDE_EXPIRY,
    LEASE_EXPIRY,
    LEASE_EXPIRED,
    CALLS,
    WORKER_STARTS,
    WORKER_READY,
    WORKER_HEARTBEAT,
    WORKER_MEMORY,
    COLLECTOR_DURATION,
)
