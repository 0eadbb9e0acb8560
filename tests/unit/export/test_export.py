"""A whole export: what the bundle holds, and that a failed one leaves nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steersman.bundle.certificate import Certificate
from steersman.bundle.digest import sha256
from steersman.bundle.errors import SteersmanError
from steersman.bundle.manifest import CERTIFICATE_FILE, REFERENCE_FILE
from steersman.bundle.reference import unpack_references
from steersman.bundle.specs import feature_names
from steersman.export import ExportSettings, export_policy
from steersman.export.quantization import variants as gates
from steersman.export.verify import verify_bundle
from unit.export.conftest import NORMALIZED, PLAIN, Made, Train
from unit.export.models import DRIFT, Case

WIDE = Case("wide", observation="wide", action="torque")


def test_a_bundle_verifies_without_what_made_it(plain_bundle: Made, normalized_bundle: Made) -> None:
    for made in (plain_bundle, normalized_bundle):
        verification = verify_bundle(made.bundle.path)
        assert verification.passed
        assert set(verification.results) == set(made.bundle.manifest.variants)


def test_the_manifest_says_where_the_policy_comes_from(plain_bundle: Made) -> None:
    manifest = plain_bundle.bundle.manifest
    origin = manifest.provenance
    assert (manifest.policy, manifest.version, origin.algorithm) == ("drift", 1, "PPO")
    assert origin.environment
    assert (origin.environment.id, origin.environment.kwargs["action"]) == (DRIFT, "two")
    assert (origin.environment.import_module, origin.vecnormalize_sha256) == (None, None)
    assert origin.train_steps == 64
    assert {"trained.torch", "exported.torch", "exported.onnxruntime"} <= set(origin.libraries)
    assert feature_names(manifest.contract) == ("left", "middle", "right")
    assert manifest.contract.action.names == ("wait", "go")
    assert manifest.parity.disagreements == 0
    assert manifest.parity.states > 5_000


def test_quantization_is_judged_on_many_states(plain_bundle: Made) -> None:
    manifest = plain_bundle.bundle.manifest
    judged = {v.scheme: v for v in (*manifest.variants.values(), *manifest.rejected_variants) if v.flips}
    assert judged.keys() == {"weight_only", "static_qdq", "static_qdq_hidden", "dynamic"}
    assert all(variant.flips.states >= 10_000 for variant in judged.values() if variant.flips)
    int8 = manifest.variants["int8"]
    assert int8.flips
    assert int8.flips.upper_95 <= 0.005
    assert int8.size_bytes < manifest.variants["fp32"].size_bytes
    assert {1, 32} == set(int8.latency_us) == set(manifest.variants["fp32"].latency_us)
    for rejected in manifest.rejected_variants:
        assert rejected.reason


def test_the_reference_covers_both_modes(plain_bundle: Made) -> None:
    bundle = plain_bundle.bundle
    references = unpack_references(bundle.read(REFERENCE_FILE), "here")
    info = bundle.manifest.reference
    assert set(references) == {"greedy", "sampled"} == set(info.episodes)
    assert (info.synthetic, info.features) == (False, 3)
    for mode, reference in references.items():
        assert reference.feature_counts.sum(axis=1).tolist() == [info.steps[mode]] * 3
        assert int(reference.episodes) == info.episodes[mode] >= 50
    assert info.mean_return["greedy"] < 0


def test_the_card_reads_well(plain_bundle: Made) -> None:
    card = plain_bundle.bundle.read("card.md").decode()
    for words in (
        "# Policy `drift`",
        "left, middle, right",
        "| int8 |",
        "of 1",
        "SHA-256",
        "An action mask of 2 columns is obeyed",
    ):
        assert words in card
    assert "None" not in card


def test_a_policy_without_environment_says_so(normalized_bundle: Made) -> None:
    manifest = normalized_bundle.bundle.manifest
    assert manifest.reference.synthetic
    assert manifest.provenance.environment is None
    assert "VecNormalize" in manifest.contract.inside[0]
    assert normalized_bundle.trained.vecnormalize
    statistics = normalized_bundle.trained.vecnormalize.read_bytes()
    assert manifest.provenance.vecnormalize_sha256 == sha256(statistics)
    assert "Synthetic reference" in normalized_bundle.bundle.read("card.md").decode()


def test_the_certificate_s_answers_are_sb3_s(normalized_bundle: Made) -> None:
    certificate = Certificate.unpack(normalized_bundle.bundle.read(CERTIFICATE_FILE), "here")
    expected = normalized_bundle.trained.predict(certificate.inputs["obs"])
    assert np.array_equal(certificate.expected["action"], expected)


def test_many_features_are_not_referenced_one_by_one(trained: Train, tmp_path: Path) -> None:
    stages: list[tuple[str, float]] = []
    model = trained(WIDE)
    exported = export_policy(
        ExportSettings(source=model.zip, repository=tmp_path, policy="wide", seed=4),
        lambda what, share: stages.append((what, share)),
    )
    assert exported.bundle.manifest.reference.features == 0
    reference = unpack_references(exported.bundle.read(REFERENCE_FILE), "here")["greedy"]
    assert reference.feature_counts.shape[0] == 0
    assert reference.action_counts.shape[0] == 1
    assert [share for _, share in stages] == sorted(share for _, share in stages)
    assert stages[0][0] == "Reading the policy"
    assert (
        export_policy(ExportSettings(source=model.zip, repository=tmp_path, policy="wide")).bundle.path.name
        == "2"
    )


def settings(trained: Train, repository: Path, **more: Any) -> ExportSettings:
    return ExportSettings(source=trained(PLAIN).zip, repository=repository, policy="plain", **more)


def test_a_required_variant_that_fails_ends_the_export(
    trained: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gates, "MOST_FLIPS", -1.0)
    with pytest.raises(SteersmanError, match=r"no int8 variant passed.*weight_only") as caught:
        export_policy(settings(trained, tmp_path, require_int8=True))
    assert caught.value.exit_code == 1
    assert not list(tmp_path.iterdir())


def test_an_existing_version_is_refused_before_any_work(plain_bundle: Made, trained: Train) -> None:
    repository = plain_bundle.bundle.path.parent.parent
    asked = ExportSettings(source=trained(PLAIN).zip, repository=repository, policy="drift", version=1)
    with pytest.raises(SteersmanError, match="version 1 exists already") as caught:
        export_policy(asked)
    assert caught.value.exit_code == 2


def test_a_repository_that_cannot_be_written_is_refused(trained: Train, tmp_path: Path) -> None:
    (tmp_path / "repository").write_text("a file")
    with pytest.raises(SteersmanError, match="bundles cannot be written here") as caught:
        export_policy(settings(trained, tmp_path / "repository"))
    assert caught.value.exit_code == 2


def test_statistics_of_another_model_are_refused(trained: Train, tmp_path: Path) -> None:
    with pytest.raises(SteersmanError, match="statistics are of observations of shape"):
        export_policy(settings(trained, tmp_path / "new", vecnormalize=trained(NORMALIZED).vecnormalize))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"feature_names": ("a", "b")}, "--feature-names: got 2 names; expected 3"),
        ({"action_names": ("a", "a")}, "--action-names: a name comes twice"),
    ],
)
def test_names_that_do_not_fit_are_refused(
    trained: Train, tmp_path: Path, names: dict[str, Any], expected: str
) -> None:
    with pytest.raises(SteersmanError, match=expected):
        export_policy(settings(trained, tmp_path / "new", **names))


def test_the_manifest_is_plain_json(plain_bundle: Made) -> None:
    data = json.loads((plain_bundle.bundle.path / "manifest.json").read_text())
    assert data["files"].keys() == {
        "policy.onnx",
        "policy.int8.onnx",
        "reference.npz",
        "certificate.npz",
        "card.md",
        "report.html",
    }
