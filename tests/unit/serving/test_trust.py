"""Signatures that the server asks for: who is refused, and that a mistake never opens it."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from steersman.bundle.bundle import Bundle
from steersman.bundle.errors import UsageError
from steersman.bundle.manifest import MANIFEST_FILE
from steersman.bundle.signature import ASK_NOBODY, SignatureError, Trust
from steersman.export.signing.keys import SigningKey
from steersman.export.signing.sign import sign_bundle
from steersman.monitoring.counters import Segment, Slot
from steersman.serving.counting import counters_layout
from steersman.serving.deciding.routing import PolicyRuntime, RoutingTable
from steersman.serving.loading.loader import Loader
from steersman.serving.loading.trust import read_trust
from steersman.serving.planning.planner import Plan, Planner
from steersman.serving.settings import ServerSettings, load_settings
from support.toy_bundle import publish_toy

KEY, OTHER = SigningKey.generate(), SigningKey.generate()
TRUST = Trust(keys=(KEY.public_key,), required=True)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return publish_toy(tmp_path / "bundles")


def plan(folder: Path, trust: Trust) -> tuple[Plan, Segment]:
    segment = Segment.create(folder / "counters", counters_layout(1, 100_000))
    return Planner(folder / "bundles", {}, (), segment.allocator(), trust).plan(1), segment


def load(folder: Path, planned: Trust, loaded: Trust) -> PolicyRuntime:
    """What a worker with one trust makes of the plan of a supervisor with another."""
    made, segment = plan(folder, planned)
    loader = Loader(Slot.open(segment.path, 0).block, folder, loaded)
    return loader.load(made.snapshot, RoutingTable()).policies["toy"]


def test_a_bundle_with_a_trusted_signature_is_served(tmp_path: Path, bundle: Bundle) -> None:
    sign_bundle(bundle, KEY)
    runtime = load(tmp_path, TRUST, TRUST)
    assert [lane.version for lane in runtime.lanes] == [1]


def signed_by_another(bundle: Bundle) -> None:
    sign_bundle(bundle, OTHER)


def changed_since(bundle: Bundle) -> None:
    sign_bundle(bundle, KEY)
    with (bundle.path / MANIFEST_FILE).open("ab") as file:
        file.write(b"\n")


@pytest.mark.parametrize(
    ("spoil", "trust", "reason"),
    [
        (lambda _: None, TRUST, "not signed"),
        (signed_by_another, TRUST, "no trusted key"),
        (changed_since, TRUST, "does not fit"),
        (changed_since, ASK_NOBODY, "does not fit"),
    ],
)
def test_a_bundle_without_a_valid_signature_is_planned_as_failed(
    tmp_path: Path, bundle: Bundle, spoil: Callable[[Bundle], None], trust: Trust, reason: str
) -> None:
    spoil(bundle)
    made, _ = plan(tmp_path, trust)
    assert isinstance(made.failures["toy"], SignatureError)
    (route,) = made.snapshot.policies
    assert route.lanes == ()
    assert (route.versions[0].state, reason in route.versions[0].detail) == ("failed", True)
    assert str(tmp_path) not in route.versions[0].detail


def test_a_worker_checks_for_itself(tmp_path: Path, bundle: Bundle) -> None:
    runtime = load(tmp_path, ASK_NOBODY, TRUST)
    assert runtime.lanes == ()
    assert "not signed" in runtime.failures[1]


def test_while_signing_is_introduced_the_others_are_served_with_a_warning(
    tmp_path: Path, bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    trust = TRUST.model_copy(update={"required": False})
    with caplog.at_level(logging.WARNING):
        assert [lane.version for lane in load(tmp_path, trust, trust).lanes] == [1]
    assert [record.getMessage() for record in caplog.records] == ["no trusted key signed the version"]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "release.public.pem"
    path.write_bytes(KEY.public_pem())
    return path


@pytest.mark.parametrize(
    ("required", "expected"), [(None, True), (True, True), (False, False)], ids=["unsaid", "yes", "no"]
)
def test_a_trusted_key_asks_for_signatures_unless_told_otherwise(
    key_file: Path, required: bool | None, expected: bool
) -> None:
    settings = ServerSettings(repository=key_file, trusted_keys=(key_file,), require_signature=required)
    assert read_trust(settings) == Trust(keys=(KEY.public_key,), required=expected)


def test_without_keys_nothing_is_asked_for_and_nothing_can_be(tmp_path: Path) -> None:
    assert read_trust(ServerSettings(repository=tmp_path)) == ASK_NOBODY
    with pytest.raises(UsageError, match="require_signature: a signature is required, but no key is trusted"):
        read_trust(ServerSettings(repository=tmp_path, require_signature=True))


def test_a_worker_starts_without_the_library_that_checks_signatures() -> None:
    code = "import sys, steersman.serving.worker; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0


def test_the_signer_s_passphrase_is_no_setting_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEERSMAN_KEY_PASSPHRASE", "correct horse")
    assert load_settings(None, {"repository": tmp_path}).trusted_keys == ()
