"""Signing from the command line: keys that stay secret, signatures that anyone can check."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from click.testing import Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from typer.testing import CliRunner

from steersman.bundle.bundle import Bundle
from steersman.bundle.errors import BundleCorruptError, SteersmanError
from steersman.bundle.manifest import MANIFEST_FILE, SIGNATURE_FILE
from steersman.bundle.signature import ASK_NOBODY, SignatureError, check_signatures, read_signatures
from steersman.export.inspection import run_verify
from steersman.export.signing.cli import PASSPHRASE_VARIABLE, keys, sign
from steersman.export.signing.keys import SigningKey
from steersman.export.signing.sign import seal_with
from support.toy_bundle import publish_toy

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_toy(tmp_path_factory.mktemp("repository")).path


@pytest.fixture
def bundle(toy: Path, tmp_path: Path) -> Path:
    return shutil.copytree(toy, tmp_path / "toy" / "1")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The commands, run in a folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(sign)
    app.add_typer(keys, name="keys")

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return invoke


def failure(result: Result) -> SteersmanError:
    """The error that a command ended with, which must be one line."""
    assert isinstance(result.exception, SteersmanError)
    assert "\n" not in str(result.exception)
    return result.exception


def verify(bundle: Path, *trusted: str) -> int:
    return run_verify(bundle, trusted_keys=[Path(name) for name in trusted], as_json=True)


def test_a_key_is_made_for_its_owner_alone(run: Run, tmp_path: Path) -> None:
    result = run("keys", "generate", "release")
    assert result.exit_code == 0, result.output
    private, public = tmp_path / "release.private.pem", tmp_path / "release.public.pem"
    assert private.stat().st_mode & 0o777 == 0o600
    assert b"BEGIN PRIVATE KEY" in private.read_bytes()
    assert isinstance(load_pem_public_key(public.read_bytes()), Ed25519PublicKey)
    shown = run("keys", "show", public).stdout.strip()
    assert len(shown) == 64
    assert shown in result.stdout
    secret = private.read_text().splitlines()[1]
    assert secret not in result.output


@pytest.mark.parametrize("ending", ["private.pem", "public.pem"])
def test_a_key_is_never_overwritten(run: Run, tmp_path: Path, ending: str) -> None:
    there = tmp_path / f"release.{ending}"
    there.symlink_to(tmp_path / "nothing")
    error = failure(run("keys", "generate", "release"))
    assert (error.exit_code, error.where) == (2, f"release.{ending}")
    assert list(tmp_path.iterdir()) == [there]


def test_a_key_for_a_folder_that_is_not_there_is_refused(run: Run) -> None:
    assert failure(run("keys", "generate", "gone/release")).exit_code == 2


def test_a_signed_bundle_passes_where_its_key_is_trusted_and_only_there(
    run: Run, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("keys", "generate", "anna")
    run("keys", "generate", "bert")
    before = Bundle.open(bundle)
    result = run("sign", bundle, "--key", "anna.private.pem")
    assert result.exit_code == 0, result.output
    assert Bundle.open(bundle) == before
    assert verify(bundle) == 0
    capsys.readouterr()
    assert verify(bundle, "bert.public.pem", "anna.public.pem") == 0
    printed = json.loads(capsys.readouterr().out)
    anna = run("keys", "show", "anna.public.pem").stdout.strip()
    assert printed["trusted"] == printed["signed_by"] == [anna]
    with pytest.raises(SignatureError, match="no trusted key signed"):
        verify(bundle, "bert.public.pem")


def test_an_unsigned_bundle_passes_until_keys_are_trusted(
    run: Run, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("keys", "generate", "anna")
    assert run_verify(bundle, as_json=False) == 0
    assert "Not signed" in capsys.readouterr().out
    with pytest.raises(SignatureError, match="not signed") as caught:
        verify(bundle, "anna.public.pem")
    assert caught.value.exit_code == 1


def test_a_signature_that_does_not_fit_fails_without_any_trust(run: Run, bundle: Path) -> None:
    run("keys", "generate", "anna")
    run("sign", bundle, "--key", "anna.private.pem")
    manifest = bundle / MANIFEST_FILE
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    with pytest.raises(SignatureError, match="does not fit") as caught:
        verify(bundle)
    assert caught.value.exit_code == 1
    assert isinstance(failure(run("sign", bundle, "--key", "anna.private.pem")), SignatureError)


def test_several_people_may_sign_and_each_counts_once(run: Run, bundle: Path) -> None:
    for name in ("anna", "bert", "anna"):
        run("keys", "generate", name)
        done = json.loads(run("sign", bundle, "--key", f"{name}.private.pem", "--json").stdout)
    assert done["added"] is False
    signatures = read_signatures(bundle)
    assert signatures is not None
    assert len(signatures.signatures) == 2
    assert verify(bundle, "bert.public.pem") == 0
    assert (bundle / SIGNATURE_FILE).stat().st_mode & 0o777 == 0o644
    assert {path.name for path in bundle.iterdir() if path.name.startswith(".")} == set()


def test_nothing_is_signed_that_was_changed(run: Run, bundle: Path) -> None:
    run("keys", "generate", "anna")
    with (bundle / "policy.onnx").open("ab") as file:
        file.write(b"more")
    assert isinstance(failure(run("sign", bundle, "--key", "anna.private.pem")), BundleCorruptError)
    assert not (bundle / SIGNATURE_FILE).exists()


def test_a_passphrase_protects_the_key(
    run: Run, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "correct horse")
    result = run("keys", "generate", "anna", "--passphrase")
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in (tmp_path / "anna.private.pem").read_bytes()
    assert "correct horse" not in result.output
    assert run("sign", bundle, "--key", "anna.private.pem").exit_code == 0
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "battery staple")
    error = failure(run("sign", bundle, "--key", "anna.private.pem"))
    assert "passphrase is wrong" in str(error)
    assert "battery staple" not in str(error)
    monkeypatch.delenv(PASSPHRASE_VARIABLE)
    assert PASSPHRASE_VARIABLE in str(failure(run("sign", bundle, "--key", "anna.private.pem")))


def test_an_empty_passphrase_is_none(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "")
    assert "empty" in str(failure(run("keys", "generate", "anna", "--passphrase")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "it cannot be read: No such file"),
        (b"", "there is no private key here"),
        (b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n", "this is a public key"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "the key is damaged"),
    ],
)
def test_a_file_without_a_private_key_is_refused(
    run: Run, bundle: Path, tmp_path: Path, content: bytes | None, expected: str
) -> None:
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)
    error = failure(run("sign", bundle, "--key", path))
    assert (error.exit_code, expected in str(error)) == (2, True)
    assert "AAAA" not in str(error)


def test_a_bundle_can_be_sealed_as_it_is_published(bundle: Path) -> None:
    key = SigningKey.generate()
    sealed = seal_with(key)((bundle / MANIFEST_FILE).read_bytes())
    (bundle / SIGNATURE_FILE).write_bytes(sealed)
    assert check_signatures(Bundle.open(bundle), ASK_NOBODY).signers == (key.key_id,)
