"""Certifying every variant of a bundle: one that fails, in whatever way, does not stop the others."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from steersman.bundle.bundle import Bundle
from steersman.bundle.certify import certify_variants
from steersman.bundle.digest import sha256
from steersman.bundle.errors import BundleCorruptError
from steersman.bundle.manifest import CERTIFICATE_FILE, MANIFEST_FILE
from steersman.bundle.session import usual_outputs
from steersman.export.verify import verify_bundle


def with_int8(bundle: Bundle, content: bytes) -> Bundle:
    """The bundle with a second variant of this content."""
    file = bundle.path / MANIFEST_FILE
    data = json.loads(file.read_bytes())
    data["variants"]["int8"] = {**data["variants"]["fp32"], "file": "policy.int8.onnx"}
    data["files"]["policy.int8.onnx"] = {"sha256": sha256(content), "size_bytes": len(content)}
    file.write_text(json.dumps(data))
    (bundle.path / "policy.int8.onnx").write_bytes(content)
    return Bundle.open(bundle.path)


def doubled(bundle: Bundle) -> bytes:
    """The policy with twice its weights."""
    model = onnx.load_from_string(bundle.read("policy.onnx"))
    (weights,) = (tensor for tensor in model.graph.initializer if tensor.name == "weights")
    weights.CopyFrom(numpy_helper.from_array(np.eye(4, 3, dtype=np.float32) * 8, "weights"))
    return bytes(model.SerializeToString())


def without_value(bundle: Bundle) -> bytes:
    model = onnx.load_from_string(bundle.read("policy.onnx"))
    model.graph.output.pop()
    return bytes(model.SerializeToString())


def test_a_variant_that_answers_as_recorded_passes(toy: Bundle) -> None:
    (check,) = certify_variants(toy).values()
    assert check.passed
    assert check.session is not None
    assert check.result is not None
    assert (check.failure, check.result.rows) == ("", 8)
    usual = [usual_outputs(toy.manifest.contract.outputs, mode) for mode in toy.manifest.contract.modes]
    assert check.session.prepared == tuple(usual)


@pytest.mark.parametrize(
    ("make", "failure", "ran"),
    [
        (lambda _: b"no graph", "cannot load the graph", False),
        (without_value, "does not give value", False),
        (doubled, "distribution differs by up to", True),
    ],
)
def test_a_variant_that_fails_does_not_stop_the_others(
    fresh: Bundle, make: Callable[[Bundle], bytes], failure: str, ran: bool
) -> None:
    bundle = with_int8(fresh, make(fresh))
    checks = certify_variants(bundle)
    assert checks["fp32"].passed
    assert (checks["int8"].session, checks["int8"].passed) == (None, False)
    assert failure in checks["int8"].failure
    assert str(bundle.path) not in checks["int8"].failure
    assert (checks["int8"].result is not None) == ran
    verification = verify_bundle(bundle.path)
    assert not verification.passed
    assert verification.results["fp32"].passed
    assert failure in verification.results["int8"].failures[0]


def test_a_variant_whose_file_is_gone_has_failed(fresh: Bundle) -> None:
    bundle = with_int8(fresh, fresh.read("policy.onnx"))
    (bundle.path / "policy.int8.onnx").unlink()
    checks = certify_variants(bundle)
    assert checks["fp32"].passed
    assert checks["int8"].failure == "file of the bundle is missing"


def test_without_its_certificate_nothing_can_be_said(fresh: Bundle) -> None:
    (fresh.path / CERTIFICATE_FILE).unlink()
    with pytest.raises(BundleCorruptError, match="is missing"):
        certify_variants(fresh)
