"""The export, from first to last. Nothing is written before everything has passed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from steersman.bundle.bundle import Bundle
from steersman.bundle.certificate import Certificate
from steersman.bundle.digest import contract_digest
from steersman.bundle.errors import BundleExistsError
from steersman.bundle.manifest import CERTIFICATE_FILE, REFERENCE_FILE, FileDigest, Manifest, Parity
from steersman.bundle.repository import Repository
from steersman.bundle.specs import Contract, Mode
from steersman.export.errors import ExportError, GateError
from steersman.export.evidence.certify import write_certificate
from steersman.export.evidence.comparison import measure_baseline
from steersman.export.evidence.parity import check_parity, draw_inputs
from steersman.export.evidence.states import States, gather_states, pick
from steersman.export.policies.contract import build_contract
from steersman.export.policies.graph import OPSET, build_graph, label_graph
from steersman.export.policies.oracle import Oracle
from steersman.export.quantization.variants import Choice, Workbench, choose_variants
from steersman.export.quiet import one_torch_thread, quietly
from steersman.export.reading.load import SavedPolicy, load_policy
from steersman.export.reading.normalizer import load_normalizer
from steersman.export.report.card import CARD_FILE, write_card
from steersman.export.report.describe import FP32_FILE, INT8_FILE, describe_variants, provenance
from steersman.export.settings import ExportSettings
from steersman.export.sources.environments import open_environments
from steersman.export.sources.references import describe_rollouts, pack_rollouts
from steersman.export.sources.rollouts import Rollout, play, sample_space
from steersman.export.sources.source import find_source
from steersman.export.vocabulary import Scheme

Array = NDArray[Any]
Progress = Callable[[str, float], None]
"""Called with what is going on and the share that is done, on the exporting thread."""

PARITY_ROWS = 10_000
MODES: tuple[Mode, ...] = ("greedy", "sampled")


@dataclass(frozen=True, slots=True)
class Exported:
    """A bundle that was written.

    Attributes:
        bundle: The bundle; its manifest holds the figures.
        seconds: How long it took.
        notes: What a person should know, such as statistics that were found but not used.
    """

    bundle: Bundle
    seconds: float
    notes: tuple[str, ...]


def export_policy(settings: ExportSettings, progress: Progress | None = None) -> Exported:
    """Exports a policy and publishes its bundle.

    Raises:
        ExportError: See its subclasses; nothing was written.
        BundleError: The bundle could not be written; nothing was left behind.
    """
    began = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(quietly())
        stack.enter_context(one_torch_thread())
        stack.enter_context(torch.random.fork_rng(devices=[]))
        torch.manual_seed(settings.seed)
        exported = _Export(settings, progress or (lambda _, __: None))
        bundle = exported.run()
    return Exported(bundle, time.monotonic() - began, exported.source.notes)


class _Export:
    """One export under way."""

    def __init__(self, settings: ExportSettings, progress: Progress) -> None:
        self.settings = settings
        self.say = progress
        self.source = find_source(settings)
        self.policy = settings.policy or self.source.policy_name
        self.repository = Repository(settings.repository)
        self.rng = np.random.default_rng(settings.seed)

    def run(self) -> Bundle:
        self._check_repository()
        self.say("Reading the policy", 0.0)
        saved = load_policy(self.source.zip, self.source.algo)
        file = self.source.vecnormalize
        oracle = Oracle(saved, load_normalizer(file, saved.observation_space) if file else None)
        contract = build_contract(saved, oracle.normalizer, self.source)
        rollouts = self._rollouts(oracle)
        states = gather_states(rollouts, contract.observations[0], self.rng)
        examined = self._examine(oracle, contract, states)
        if examined.choice.int8 is None and self.settings.require_int8:
            raise _no_int8(examined.choice)
        self.say("Measuring the reference", 0.8)
        reference = pack_rollouts(rollouts, contract, self.settings.seed)
        self.say("Writing the bundle", 0.98)
        return self._publish(saved, contract, examined, rollouts, reference)

    def _check_repository(self) -> None:
        """The repository's own checks come last and decide; these save the wait."""
        root, version = self.repository.root.absolute(), self.settings.version
        existing = next(folder for folder in (root, *root.parents) if folder.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK):
            raise ExportError(
                "bundles cannot be written here", where=str(existing), expected="a folder of yours"
            )
        if version is not None and version in self.repository.versions(self.policy):
            raise BundleExistsError(
                f"version {version} exists already",
                where=str(self.repository.root / self.policy),
                hint="Choose another version, or leave the choice to the exporter.",
            )

    def _rollouts(self, oracle: Oracle) -> tuple[Rollout, ...]:
        settings, source = self.settings, self.source
        if source.env_id is None or settings.reference_episodes == 0:
            self.say("Sampling the observation space", 0.05)
            return tuple(
                sample_space(oracle, mode, settings.reference_episodes, settings.seed) for mode in MODES
            )
        with open_environments(source, oracle.saved, settings.seed) as envs:
            return tuple(
                play(oracle, envs, mode, settings.reference_episodes, self._playing(i, mode))
                for i, mode in enumerate(MODES)
            )

    def _playing(self, i: int, mode: Mode) -> Callable[[int], None]:
        def told(steps: int) -> None:
            if steps % 1_000 < 25:
                self.say(f"Playing {mode} episodes, {steps:,} steps", 0.05 + 0.15 * i)

        return told

    def _examine(self, oracle: Oracle, contract: Contract, states: States) -> _Examined:
        self.say("Exporting the graph", 0.35)
        digest = contract_digest(contract)
        model = build_graph(oracle.saved, oracle.normalizer, contract)
        label_graph(model, self.policy, digest)
        bench = Workbench(model, contract, digest)
        fp32 = bench.candidate(model, Scheme.FLOAT32)
        self.say("Comparing with SB3", 0.5)
        baseline = measure_baseline(fp32.session, states.evaluation)
        rows = np.concatenate([pick(states.evaluation, PARITY_ROWS, self.rng), states.boundary])
        inputs = draw_inputs(rows, contract, self.rng)
        parity = check_parity(fp32.session, oracle, inputs, baseline.tie_gap)
        certificate = write_certificate(oracle, fp32.session, states, baseline.tie_gap, self.rng)
        choice = choose_variants(
            bench,
            fp32,
            baseline,
            certificate,
            calibration=states.calibration,
            progress=lambda share: self.say("Quantizing", 0.55 + 0.25 * share),
        )
        return _Examined(parity, certificate, choice)

    def _publish(
        self,
        saved: SavedPolicy,
        contract: Contract,
        examined: _Examined,
        rollouts: Sequence[Rollout],
        reference: bytes,
    ) -> Bundle:
        choice = examined.choice
        manifest = Manifest(
            policy=self.policy,
            version=1,
            created=datetime.now(UTC),
            provenance=provenance(saved, self.source),
            contract=contract,
            contract_digest=contract_digest(contract),
            opset=OPSET,
            variants=describe_variants(choice),
            rejected_variants=choice.rejected,
            parity=examined.parity,
            reference=describe_rollouts(rollouts, contract),
            files={},
        )
        files = {
            FP32_FILE: choice.fp32.model,
            REFERENCE_FILE: reference,
            CERTIFICATE_FILE: examined.certificate.pack(),
            CARD_FILE: write_card(manifest).encode(),
        }
        if choice.int8 is not None:
            files[INT8_FILE] = choice.int8.model

        def build(version: int, digests: dict[str, FileDigest]) -> Manifest:
            return manifest.model_copy(update={"version": version, "files": digests})

        return self.repository.publish(self.policy, files, build, self.settings.version)


@dataclass(frozen=True, slots=True)
class _Examined:
    """What the examination of the graph and its variants found."""

    parity: Parity
    certificate: Certificate
    choice: Choice


def _no_int8(choice: Choice) -> GateError:
    reasons = "; ".join(f"{rejected.scheme}: {rejected.reason}" for rejected in choice.rejected)
    return GateError(
        f"no int8 variant passed its gates ({reasons})", hint="Leave --require-int8 out to ship fp32 alone."
    )
