"""The export, from first to last. Nothing is written before everything has passed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import torch

from steersman.bundle.bundle import Bundle
from steersman.bundle.digest import contract_digest
from steersman.bundle.errors import BundleExistsError
from steersman.bundle.manifest import CERTIFICATE_FILE, REFERENCE_FILE, FileDigest, Manifest
from steersman.bundle.reference import unpack_references
from steersman.bundle.repository import Repository, Seal, file_digests
from steersman.bundle.specs import Contract
from steersman.export.errors import ExportUsageError, GateError
from steersman.export.evidence.returns import LARGEST_LOSS
from steersman.export.examination import Examined, Subject, examine
from steersman.export.gathering import gather_rollouts
from steersman.export.policies.contract import action_spec, build_contract, observation_specs
from steersman.export.policies.families import family_of
from steersman.export.policies.graph import OPSET
from steersman.export.policies.oracle import Oracle
from steersman.export.quantization.variants import MOST_FLIPS, Choice
from steersman.export.quiet import one_thread, quietly, unchecked_distributions
from steersman.export.reading.load import SavedPolicy, load_policy
from steersman.export.reading.trusted import TrustedCode
from steersman.export.report.card import CARD_FILE, write_card
from steersman.export.report.data import ReportData, describe_host
from steersman.export.report.describe import FP32_FILE, INT8_FILE, describe_variants, provenance
from steersman.export.report.page import REPORT_FILE, write_report
from steersman.export.settings import ExportSettings
from steersman.export.signing.command import open_key
from steersman.export.signing.sign import seal_with
from steersman.export.sources.environments import Stage
from steersman.export.sources.episodes import Rollout
from steersman.export.sources.paths import exists, is_folder
from steersman.export.sources.references import describe_rollouts, pack_rollouts
from steersman.export.sources.remarks import remarks
from steersman.export.sources.setting import Setting, find_setting
from steersman.export.sources.source import Source, find_source

Progress = Callable[[str, float], None]
"""Called with what is going on and the share that is done, on the exporting thread."""


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
        stack.enter_context(one_thread())
        stack.enter_context(unchecked_distributions())
        stack.enter_context(torch.random.fork_rng(devices=[]))
        torch.manual_seed(settings.seed)
        exported = _Export(settings, progress or (lambda _, __: None))
        bundle, notes = exported.run()
    return Exported(bundle, time.monotonic() - began, notes)


class _Export:
    """One export under way."""

    def __init__(self, settings: ExportSettings, progress: Progress) -> None:
        self.settings = settings
        self.say = progress
        self.source = find_source(settings)
        self.policy = settings.policy or self.source.policy_name
        self.repository = Repository(settings.repository)

    def run(self) -> tuple[Bundle, tuple[str, ...]]:
        settings, source = self.settings, self.source
        self._check_repository()
        seal = seal_with(open_key(settings.sign)) if settings.sign else None
        self.say("Reading the policy", 0.0)
        trust = TrustedCode(settings.import_path) if settings.trust_code else None
        saved = load_policy(source.zip, source.algo, from_run=settings.algo is None, trust=trust)
        setting = find_setting(source, saved, trust)
        saved = replace(saved, trusted_code=(*saved.trusted_code, *setting.trusted_code))
        oracle = Oracle(family_of(saved), setting.preparation)
        contract = _contract(source, saved, setting, oracle)
        rollouts = gather_rollouts(
            oracle,
            setting,
            contract,
            observations=settings.observations,
            episodes=settings.reference_episodes,
            seed=settings.seed,
            say=self._part(0.05, 0.3),
        )
        stage = setting.stage if settings.reference_episodes else None
        subject = Subject(self.policy, oracle, contract, stage)
        examined = examine(
            subject, rollouts, int8=settings.int8, seed=settings.seed, say=self._part(0.35, 0.45)
        )
        if examined.choice.int8 is None and settings.require_int8:
            raise _no_int8(examined.choice)
        notes = (
            *source.notes,
            *setting.notes,
            *remarks(saved.algorithm, rollouts),
            *_shift_note(contract),
        )
        manifest = self._manifest(saved, stage, contract, examined, rollouts)
        files = self._files(manifest, examined, rollouts, notes)
        return self._publish(manifest, files, seal), notes

    def _part(self, first: float, share: float) -> Progress:
        """Progress of a part of the whole."""
        return lambda what, done: self.say(what, first + share * done)

    def _check_repository(self) -> None:
        """The repository's own checks come last and decide; these save the wait."""
        root, version = self.repository.root.absolute(), self.settings.version
        existing = next(folder for folder in (root, *root.parents) if exists(folder))
        if not is_folder(existing) or not os.access(existing, os.W_OK | os.X_OK):
            raise ExportUsageError(
                "bundles cannot be written here", where=str(existing), expected="a folder of yours"
            )
        if self.settings.overwrite or version is None:
            return
        if version in self.repository.versions(self.policy):
            raise BundleExistsError(
                f"version {version} exists already",
                where=str(self.repository.root / self.policy),
                hint="Choose another version, leave the choice to the exporter, or give --overwrite.",
            )

    def _manifest(
        self,
        saved: SavedPolicy,
        stage: Stage | None,
        contract: Contract,
        examined: Examined,
        rollouts: Sequence[Rollout],
    ) -> Manifest:
        choice = examined.choice
        return Manifest(
            policy=self.policy,
            version=1,
            created=datetime.now(UTC),
            provenance=provenance(saved, self.source, stage),
            contract=contract,
            contract_digest=contract_digest(contract),
            opset=OPSET,
            variants=describe_variants(choice),
            rejected_variants=choice.rejected,
            parity=examined.parity,
            reference=describe_rollouts(rollouts, contract),
            files={},
        )

    def _files(
        self, manifest: Manifest, examined: Examined, rollouts: Sequence[Rollout], notes: tuple[str, ...]
    ) -> dict[str, bytes]:
        choice, findings = examined.choice, examined.findings
        self.say("Measuring the reference", 0.8)
        reference = pack_rollouts(rollouts, manifest.contract, self.settings.seed)
        files = {
            FP32_FILE: choice.fp32.model,
            REFERENCE_FILE: reference,
            CERTIFICATE_FILE: examined.certificate.pack(),
        }
        files |= {INT8_FILE: choice.int8.model} if choice.int8 is not None else {}
        self.say("Writing the report", 0.95)
        described = manifest.model_copy(update={"files": file_digests(files)})
        data = ReportData(
            findings.differences, findings.allowed, MOST_FLIPS, LARGEST_LOSS, describe_host(), notes
        )
        page = write_report(described, unpack_references(reference, REFERENCE_FILE), data)
        return files | {CARD_FILE: write_card(described).encode(), REPORT_FILE: page}

    def _publish(self, manifest: Manifest, files: dict[str, bytes], seal: Seal | None) -> Bundle:
        self.say("Writing the bundle", 0.99)

        def build(version: int, digests: dict[str, FileDigest]) -> Manifest:
            return manifest.model_copy(update={"version": version, "files": digests})

        settings = self.settings
        return self.repository.publish(
            self.policy, files, build, settings.version, overwrite=settings.overwrite, seal=seal
        )


def _contract(source: Source, saved: SavedPolicy, setting: Setting, oracle: Oracle) -> Contract:
    return build_contract(
        observation_specs(setting.observation_space, source.feature_names or ()),
        action_spec(saved.action_space, source.action_names or ()),
        oracle.family.traits,
        setting.preparation,
        setting.wrapping.declared,
    )


def _shift_note(contract: Contract) -> tuple[str, ...]:
    start = getattr(contract.action, "start", 0)
    if not start:
        return ()
    note = (
        f"actions are counted from {start}, as their space says; SB3's predict counts from 0: an environment "
        f"that was trained with its numbers takes the action less {start}"
    )
    return (note,)


def _no_int8(choice: Choice) -> GateError:
    reasons = "; ".join(f"{rejected.scheme}: {rejected.reason}" for rejected in choice.rejected)
    return GateError(
        f"no int8 variant passed its gates ({reasons or 'none was made'})",
        hint="Leave --require-int8 out to ship fp32 alone.",
    )
