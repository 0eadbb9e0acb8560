"""Manifests and references of every kind of policy, as an export would describe them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from steersman.bundle.digest import contract_digest
from steersman.bundle.features import feature_count, has_named_features
from steersman.bundle.manifest import (
    Environment,
    FileDigest,
    Flips,
    Manifest,
    Parity,
    Provenance,
    ReferenceInfo,
    RejectedVariant,
    Returns,
    Tolerance,
    Variant,
)
from steersman.bundle.reference import Reference
from steersman.bundle.specs import (
    ActionSpec,
    BoxAction,
    Contract,
    DiscreteAction,
    Distribution,
    MultiBinaryAction,
    MultiDiscreteAction,
    NoiseSpec,
    ObservationSpec,
    StateSpec,
    WrapperSpec,
)
from steersman.export.report.data import ReportData
from steersman.monitoring.reference import build_reference

FULL = ("action", "sampled_action", "log_prob", "entropy", "distribution", "value")
GREEDY_ONLY = ("action", "distribution")


@dataclass(frozen=True, slots=True)
class Sample:
    """What the card and the report are made from."""

    manifest: Manifest
    references: Mapping[str, Reference]
    data: ReportData


def vector(size: int, key: str = "", **fields: Any) -> ObservationSpec:
    return ObservationSpec(key=key, dtype="float32", shape=(size,), low=(-10.0,), high=(10.0,), **fields)


def image() -> ObservationSpec:
    return ObservationSpec(key="camera", dtype="uint8", shape=(84, 84, 3), low=(0.0,), high=(255.0,))


def contract(
    *observations: ObservationSpec,
    action: ActionSpec,
    distribution: Distribution = "categorical",
    outputs: tuple[str, ...] = FULL,
    **fields: Any,
) -> Contract:
    return Contract(
        observations=observations, action=action, distribution=distribution, outputs=outputs, **fields
    )


POLE = ("cart_position", "cart_velocity", "pole_angle", "pole_angular_velocity")
CONTRACTS: dict[str, Contract] = {
    "discrete": contract(
        vector(4, feature_names=POLE, units=("m", "m/s", "rad", "rad/s")),
        action=DiscreteAction(n=2, names=("push_left", "push_right")),
        noise=NoiseSpec(law="uniform", width=2),
        inside=("flatten", "masked log-softmax"),
    ),
    "many features": contract(
        vector(64),
        action=DiscreteAction(n=16, start=5),
        noise=NoiseSpec(law="uniform", width=16),
    ),
    "continuous": contract(
        vector(3, feature_names=("cos", "sin", "speed")),
        action=BoxAction(shape=(2,), low=(-1.0, -2.0), high=(1.0, 2.0), names=("torque", "brake")),
        distribution="squashed_gaussian",
        noise=NoiseSpec(law="normal", width=512, scope="episode"),
        inside=("VecNormalize in float64", "tanh", "rescaling to the bounds"),
    ),
    "dict": contract(
        image(),
        vector(2, key="gps", feature_names=("north", "east")),
        action=MultiDiscreteAction(nvec=(3, 2, 4), names=("gear", "light", "horn")),
        noise=NoiseSpec(law="uniform", width=9),
        inside=("transpose camera to channels first", "camera / 255"),
    ),
    "recurrent": contract(
        vector(2),
        action=MultiBinaryAction(n=3),
        noise=NoiseSpec(law="uniform", width=6),
        outputs=(*FULL, "next_state/actor_h", "next_state/actor_c"),
        state=(StateSpec(name="actor_h", shape=(1, 256)), StateSpec(name="actor_c", shape=(1, 256))),
        wrappers=(
            WrapperSpec(
                name="frame_stack",
                arguments={"frames": 4},
                instruction="Give the last four observations, the newest last.",
            ),
        ),
    ),
    "q values": contract(vector(4), action=DiscreteAction(n=3), distribution="q_values", outputs=GREEDY_ONLY),
    "deterministic": contract(
        vector(6),
        action=BoxAction(shape=(1,), low=(-1.0,), high=(1.0,)),
        distribution="deterministic",
        outputs=("action",),
    ),
}


def sample(name: str, made: Contract | None = None, *, synthetic: bool = False, **provenance: Any) -> Sample:
    """A policy with this contract; `made` instead of a named one."""
    found = made or CONTRACTS[name]
    references = {mode: reference(found, seed) for seed, mode in enumerate(found.modes)}
    return Sample(manifest(found, synthetic=synthetic, **provenance), references, report_data(found))


def reference(found: Contract, seed: int) -> Reference:
    """Episodes of a policy that does something: features of different kinds, actions that depend on them."""
    rng = np.random.default_rng(seed)
    features = feature_count(found) if has_named_features(found) else 0
    observations, actions = [], []
    for _ in range(12):
        steps = int(rng.integers(30, 60))
        x = rng.normal(scale=1 + np.arange(features) % 5, size=(steps, features))
        x[:, 1::4] = np.round(x[:, 1::4])
        x[:, 2::4] = 0.5
        observations.append(x)
        actions.append(_actions(found.action, steps, rng))
    return build_reference(observations, actions, found, replicates=50)


def _actions(action: ActionSpec, steps: int, rng: np.random.Generator) -> Any:
    if isinstance(action, DiscreteAction):
        return action.start + rng.binomial(action.n - 1, 0.3, size=steps)
    if isinstance(action, BoxAction):
        low, high = np.asarray(action.low), np.asarray(action.high)
        drawn = rng.normal(scale=0.7, size=(steps, *action.shape)).reshape(steps, -1)
        return np.clip(drawn, low, high).reshape(steps, *action.shape)
    widths = action.nvec if isinstance(action, MultiDiscreteAction) else (2,) * action.n
    return np.stack([rng.integers(width, size=steps) for width in widths], axis=1)


def returns(mean: float, difference: float | None = None) -> Returns:
    low = None if difference is None else difference - 0.8
    high = None if difference is None else difference + 0.7
    return Returns(
        episodes=100,
        mean=mean,
        low_95=mean - 9.5,
        high_95=mean + 8.5,
        difference=difference,
        difference_low_95=low,
        difference_high_95=high,
    )


def shipped(*, played: bool) -> dict[str, Variant]:
    fp32 = Variant(
        file="policy.onnx",
        scheme="float32",
        size_bytes=412_300,
        latency_us={1: 41.2, 32: 95.0},
        tolerance=Tolerance(atol=1e-5),
        returns=returns(487.0) if played else None,
    )
    int8 = Variant(
        file="policy.int8.onnx",
        scheme="static_qdq_hidden",
        size_bytes=118_900,
        latency_us={1: 28.9, 32: 61.0},
        tolerance=Tolerance(atol=0.02, flip_rate=0.005),
        flips=Flips(states=39_887, flips=12, ties=3, upper_95=0.00049),
        max_error=0.0213,
        mean_total_variation=0.00042,
        returns=returns(486.8, -0.2) if played else None,
    )
    return {"fp32": fp32, "int8": int8}


def left_out(*, played: bool) -> tuple[RejectedVariant, ...]:
    changed = RejectedVariant(
        scheme="static_qdq",
        reason="2381 of 39887 decisions flip, at most 6.17% with 95 % confidence; the gate is 0.50%",
        size_bytes=115_000,
        flips=Flips(states=39_887, flips=2_381, ties=3, upper_95=0.0617),
        latency_us={1: 27.0, 32: 55.0},
        max_error=0.8,
        mean_total_variation=0.03,
        returns=returns(431.0, -56.0) if played else None,
    )
    dynamic = RejectedVariant(
        scheme="dynamic",
        reason="its scale spans the batch, so rows influence each other",
        size_bytes=116_000,
        flips=Flips(states=39_887, flips=0, ties=3, upper_95=0.000075),
        latency_us={1: 30.0, 32: 70.0},
    )
    return changed, dynamic


def provenance(*, played: bool, **changes: Any) -> Provenance:
    environment = Environment(id="CartPole-v1", kwargs={"render_mode": None}, import_module="my.envs")
    made: dict[str, Any] = {
        "algorithm": "PPO",
        "libraries": {
            "trained.torch": "1.13.1",
            "trained.stable_baselines3": "1.8.0",
            "exported.torch": "2.13.0",
        },
        "zip_sha256": "ab" * 32,
        "vecnormalize_sha256": "cd" * 32,
        "environment": environment if played else None,
        "run": "ppo-0-1",
        "mean_return": 490.5,
        "train_steps": 1_000_000,
    }
    return Provenance(**{**made, **changes})


def manifest(found: Contract, *, synthetic: bool = False, **changes: Any) -> Manifest:
    """As an export of this contract would describe it; without an environment when synthetic."""
    played = not synthetic
    return Manifest(
        policy="sample",
        version=1,
        created=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
        provenance=provenance(played=played, **changes),
        contract=found,
        contract_digest=contract_digest(found),
        opset=18,
        variants=shipped(played=played),
        rejected_variants=left_out(played=played),
        parity=Parity(
            states=10_076,
            disagreements=0,
            ties=2,
            max_action_error=2.4e-7,
            max_parameter_error=1.9e-6,
            sequence_steps=200 * 16 if found.state else 0,
            returns=returns(487.0) if played else None,
        ),
        reference=ReferenceInfo(
            synthetic=synthetic,
            source="space" if synthetic else "environment",
            features=feature_count(found) if has_named_features(found) else 0,
            episodes=dict.fromkeys(found.modes, 100),
            steps=dict.fromkeys(found.modes, 12_345),
            mean_return=dict.fromkeys(found.modes, 487.0) if played else {},
        ),
        files={"policy.onnx": FileDigest(sha256="12" * 32, size_bytes=412_300)},
    )


def report_data(found: Contract, **fields: Any) -> ReportData:
    """Differences of numbers, as comparing with SB3 leaves them."""
    rng = np.random.default_rng(7)
    continuous = isinstance(found.action, BoxAction)
    names = [name for name in found.outputs if name in {"distribution", "value", "entropy", "log_prob"}]
    names += ["action"] if continuous else []
    differences = {}
    for name in names:
        drawn = 10 ** rng.normal(-7, 0.6, size=2_000)
        drawn[rng.random(2_000) < 0.3] = 0.0
        differences[name] = np.minimum(drawn, 9e-6)
    allowed = {name: 1e-5 if name == "action" else 1e-4 for name in names}
    return ReportData(**{"differences": differences, "allowed": allowed, **fields})
