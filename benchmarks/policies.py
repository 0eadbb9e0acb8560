"""The policies that are measured, as bundles that a server takes for any other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.mlp import OPSET, build_model
from steersman.bundle.certificate import Certificate
from steersman.bundle.digest import contract_digest
from steersman.bundle.features import named_feature_matrix
from steersman.bundle.manifest import (
    CERTIFICATE_FILE,
    REFERENCE_FILE,
    FileDigest,
    Manifest,
    Parity,
    Provenance,
    ReferenceInfo,
    Tolerance,
    Variant,
)
from steersman.bundle.reference import Reference, pack_references
from steersman.bundle.repository import Repository
from steersman.bundle.session import PolicySession
from steersman.bundle.specs import Contract, DiscreteAction, Mode, NoiseSpec, ObservationSpec
from steersman.monitoring.reference import build_reference

EPISODES, STEPS = 4, 250
"""Too few episodes to calibrate thresholds, which takes seconds and costs the server nothing."""
CERTIFIED_ROWS = 32
MODEL_FILE = "policy.onnx"


@dataclass(frozen=True, slots=True)
class PolicyShape:
    """A masked discrete policy.

    Attributes:
        label: What it stands for.
        widths: Features, hidden widths, actions.
    """

    label: str
    widths: tuple[int, ...]

    @property
    def name(self) -> str:
        """Its name in the repository, such as 64-256-256-16."""
        return "-".join(map(str, self.widths))

    @property
    def features(self) -> int:
        """Number of observation features."""
        return self.widths[0]

    @property
    def actions(self) -> int:
        """Number of actions."""
        return self.widths[-1]

    def row(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """An observation within the reference and a mask that forbids every fourth action."""
        observation = np.linspace(-1.0, 1.0, self.features, dtype=np.float32)
        return observation, np.arange(self.actions) % 4 != 3


REFERENCE = PolicyShape("reference load", (64, 256, 256, 16))
DEMO = PolicyShape("the demo's size", (4, 64, 64, 2))
WIDE = PolicyShape("wide", (256, 1024, 1024, 64))


def publish(root: Path, shape: PolicyShape) -> None:
    """Writes the policy's bundle, version 1."""
    contract = _contract(shape)
    digest = contract_digest(contract)
    model = build_model(shape.widths, digest)
    session = PolicySession(model, contract, digest, shape.name)
    files = {
        MODEL_FILE: model,
        CERTIFICATE_FILE: _certificate(session).pack(),
        REFERENCE_FILE: pack_references({mode: _reference(session, mode) for mode in contract.modes}),
    }

    def build(version: int, digests: dict[str, FileDigest]) -> Manifest:
        return _manifest(shape.name, version, contract, digests)

    Repository(root).publish(shape.name, files, build)


def _contract(shape: PolicyShape) -> Contract:
    return Contract(
        observations=(ObservationSpec(dtype="float32", shape=(shape.features,), low=(-10.0,), high=(10.0,)),),
        action=DiscreteAction(n=shape.actions),
        noise=NoiseSpec(law="uniform", width=shape.actions),
        distribution="categorical",
        outputs=("action", "sampled_action", "log_prob", "entropy", "distribution", "value"),
    )


def _manifest(policy: str, version: int, contract: Contract, digests: dict[str, FileDigest]) -> Manifest:
    return Manifest(
        policy=policy,
        version=version,
        created=datetime(2026, 1, 1, tzinfo=UTC),
        provenance=Provenance(algorithm="PPO", zip_sha256="0" * 64),
        contract=contract,
        contract_digest=contract_digest(contract),
        opset=OPSET,
        variants={
            "fp32": Variant(
                file=MODEL_FILE,
                scheme="float32",
                size_bytes=digests[MODEL_FILE].size_bytes,
                tolerance=Tolerance(atol=1e-5),
            )
        },
        parity=Parity(states=1, disagreements=0, ties=0, max_action_error=0.0, max_parameter_error=0.0),
        reference=ReferenceInfo(synthetic=True, episodes=dict.fromkeys(contract.modes, EPISODES)),
        files=digests,
    )


def _certificate(session: PolicySession) -> Certificate:
    rng = np.random.default_rng(0)
    inputs = _feeds(session, rng, CERTIFIED_ROWS)
    names: Sequence[str] = ("action", "distribution", "value")
    answers: dict[str, NDArray[Any]] = dict(zip(names, session.run(names, inputs), strict=True))
    return Certificate(inputs, answers, np.zeros(CERTIFIED_ROWS, np.bool_))


def _reference(session: PolicySession, mode: Mode) -> Reference:
    rng = np.random.default_rng(1)
    contract = session.contract
    feeds = [_feeds(session, rng, STEPS) for _ in range(EPISODES)]
    action = "action" if mode == "greedy" else "sampled_action"
    actions = [session.run((action,), episode)[0] for episode in feeds]
    observed = [named_feature_matrix({"obs": episode["obs"]}, contract) for episode in feeds]
    return build_reference(observed, actions, contract)


def _feeds(session: PolicySession, rng: np.random.Generator, rows: int) -> dict[str, NDArray[Any]]:
    contract = session.contract
    observations = rng.normal(size=(rows, contract.observations[0].size)).astype(np.float32)
    noise = rng.uniform(0.01, 0.99, (rows, contract.mask_width)).astype(np.float32)
    return session.feeds({"obs": observations}, noise=noise)
