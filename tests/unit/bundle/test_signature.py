"""Signatures: what fits is told from what does not, and what is trusted from what merely fits."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from steersman.bundle.bundle import Bundle
from steersman.bundle.errors import BundleCorruptError, UsageError
from steersman.bundle.manifest import MANIFEST_FILE, SIGNATURE_FILE
from steersman.bundle.repository import Repository
from steersman.bundle.signature import (
    ASK_NOBODY,
    Signature,
    SignatureError,
    SignatureFile,
    Trust,
    check_signatures,
    key_id,
    read_public_keys,
)

Entry = dict[str, str]


class Signer:
    """Signs as the format says, by the library alone."""

    def __init__(self, number: int) -> None:
        self.private = Ed25519PrivateKey.from_private_bytes(bytes([number] * 32))
        self.pem = self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        der = self.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.public = base64.b64encode(der).decode()
        self.id = key_id(self.public)

    def entry(self, manifest: bytes) -> Entry:
        signature = base64.b64encode(self.private.sign(manifest)).decode()
        return {
            "algorithm": "ed25519",
            "key_id": self.id,
            "public_key": self.public,
            "signature": signature,
        }

    def trust(self, *, required: bool = True) -> Trust:
        return Trust(keys=(self.public,), required=required)


ANNA, BERT = Signer(1), Signer(2)


def sign(bundle: Bundle, *signers: Signer, change: Callable[[Entry], object] = lambda _: None) -> None:
    entries = [signer.entry((bundle.path / MANIFEST_FILE).read_bytes()) for signer in signers]
    change(entries[-1])
    write(bundle, {"schema_version": 1, "signatures": entries})


def write(bundle: Bundle, content: Any) -> None:
    (bundle.path / SIGNATURE_FILE).write_text(json.dumps(content))


def test_a_signature_by_a_trusted_key_is_accepted(fresh: Bundle) -> None:
    sign(fresh, ANNA)
    check = check_signatures(fresh, ANNA.trust())
    assert (check.signers, check.trusted) == ((ANNA.id,), (ANNA.id,))


def test_one_trusted_signature_of_several_is_enough(fresh: Bundle) -> None:
    sign(fresh, BERT, ANNA)
    check = check_signatures(fresh, ANNA.trust())
    assert (check.signers, check.trusted) == ((BERT.id, ANNA.id), (ANNA.id,))


def test_a_signature_changes_nothing_else_of_a_bundle(fresh: Bundle) -> None:
    sign(fresh, ANNA)
    again = Bundle.open(fresh.path)
    again.verify()
    assert again == fresh
    assert Repository(fresh.path.parent.parent).open("toy") == fresh


def test_an_unsigned_bundle_is_refused_only_where_a_signature_is_required(fresh: Bundle) -> None:
    for trust in (ASK_NOBODY, ANNA.trust(required=False)):
        assert check_signatures(fresh, trust).signers == ()
    with pytest.raises(SignatureError, match=f"is not signed; expected a signature by {ANNA.id[:16]}"):
        check_signatures(fresh, ANNA.trust())


def test_a_stranger_s_signature_is_no_reason_for_trust(fresh: Bundle) -> None:
    sign(fresh, BERT)
    with pytest.raises(SignatureError, match=f"no trusted key signed the bundle, only {BERT.id[:16]}"):
        check_signatures(fresh, ANNA.trust())
    assert check_signatures(fresh, ANNA.trust(required=False)).trusted == ()


def test_a_key_s_id_cannot_be_borrowed(fresh: Bundle) -> None:
    for change in (
        lambda entry: entry.update(key_id=ANNA.id),
        lambda entry: entry.update(key_id=ANNA.id, public_key=ANNA.public),
    ):
        sign(fresh, BERT, change=change)
        with pytest.raises(SignatureError, match="does not fit"):
            check_signatures(fresh, ANNA.trust())


def test_a_broken_signature_is_refused_whoever_is_trusted(fresh: Bundle) -> None:
    manifest = fresh.path / MANIFEST_FILE
    sign(fresh, ANNA)
    data = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(data))
    for trust in (ASK_NOBODY, ANNA.trust(required=False), ANNA.trust(), BERT.trust()):
        with pytest.raises(SignatureError, match="does not fit the manifest"):
            check_signatures(Bundle.open(fresh.path), trust)


def test_a_broken_signature_beside_a_trusted_one_is_refused(fresh: Bundle) -> None:
    other = base64.b64encode(BERT.private.sign(b"another manifest")).decode()
    sign(fresh, ANNA, BERT, change=lambda entry: entry.update(signature=other))
    with pytest.raises(SignatureError, match=BERT.id[:16]):
        check_signatures(fresh, ANNA.trust())


def test_a_manifest_that_changes_between_two_looks_is_refused(fresh: Bundle) -> None:
    sign(fresh, ANNA)
    with (fresh.path / MANIFEST_FILE).open("ab") as file:
        file.write(b"\n")
    with pytest.raises(BundleCorruptError, match="changed just now"):
        check_signatures(fresh, ASK_NOBODY)


def test_an_algorithm_of_the_future_is_passed_over_and_never_counts(fresh: Bundle) -> None:
    sign(fresh, ANNA, change=lambda entry: entry.update(algorithm="ml-dsa-65"))
    assert check_signatures(fresh, ASK_NOBODY).unknown == ("ml-dsa-65",)
    with pytest.raises(SignatureError, match="no trusted key"):
        check_signatures(fresh, ANNA.trust())


@given(place=st.integers(0, 63), bit=st.integers(0, 7))
def test_no_bit_of_a_signature_may_differ(place: int, bit: int) -> None:
    manifest = b'{"schema_version": 1}'
    good = ANNA.entry(manifest)
    bad = bytearray(base64.b64decode(good["signature"]))
    bad[place] ^= 1 << bit
    changed = {**good, "signature": base64.b64encode(bad).decode()}
    assert Signature.model_validate(good).fits(manifest) is True
    assert Signature.model_validate(changed).fits(manifest) is False


@given(st.binary(min_size=1, max_size=200), st.binary(min_size=3, max_size=100))
def test_whatever_a_key_and_a_signature_hold_they_do_not_fit(key: bytes, signature: bytes) -> None:
    public = base64.b64encode(key.ljust(3)).decode()
    made = Signature(
        algorithm="ed25519",
        key_id=key_id(public),
        public_key=public,
        signature=base64.b64encode(signature).decode(),
    )
    assert made.fits(b"manifest") is False


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({}, "signatures: Field required"),
        ({"schema_version": 2, "signatures": []}, "schema_version"),
        ({"schema_version": 1, "signatures": []}, "signatures"),
        ({"schema_version": 1, "signatures": [{}]}, r"signatures\.0\.algorithm"),
        ({"schema_version": 1, "signatures": [{**ANNA.entry(b""), "signature": "%%%%"}]}, "not base64"),
        ({"schema_version": 1, "signatures": [{**ANNA.entry(b""), "by": "me"}]}, r"0\.by: Extra inputs"),
        ({"schema_version": 1, "signatures": [ANNA.entry(b"")] * 17}, "at most 16"),
        ("x" * 70_000, "too large"),
    ],
)
def test_a_malformed_file_is_refused_in_one_line(fresh: Bundle, content: Any, expected: str) -> None:
    write(fresh, content)
    with pytest.raises(SignatureError, match=expected) as caught:
        check_signatures(fresh, ASK_NOBODY)
    assert "\n" not in str(caught.value)
    assert str(fresh.path) not in caught.value.what


def test_a_folder_in_the_file_s_place_is_refused(fresh: Bundle) -> None:
    (fresh.path / SIGNATURE_FILE).mkdir()
    with pytest.raises(SignatureError, match="Is a directory"):
        check_signatures(fresh, ASK_NOBODY)


GOLDEN = b"""\
{
  "schema_version": 1,
  "signatures": [
    {
      "algorithm": "ed25519",
      "key_id": "fd110d301d2f077de1414b8f99f441b1403fab207b2052fbd2c065e4ee8e7dc2",
      "public_key": "MCowBQYDK2VwAyEAiojj3XQJ8ZX9UtstPLpdcspnCb8dlBIb83SIAbQPb1w=",
      "signature": "\
CK2li/hFen9i34uG6lUVTDfR67cgcWq/QtuXjQXttsd3pjN0ITtOSmQ/+gVPv8JciA2m0Bi6qnt5RolZjlIzDw=="
    }
  ]
}
"""
"""Of the bytes `manifest`; written by the first release that signed."""


def test_a_file_of_the_first_release_is_read_and_written_alike() -> None:
    file = SignatureFile.model_validate_json(GOLDEN)
    assert file.pack() == GOLDEN
    assert [signature.fits(b"manifest") for signature in file.signatures] == [True]


def test_public_keys_are_read_from_pem(tmp_path: Path) -> None:
    path = tmp_path / "anna.public.pem"
    path.write_bytes(ANNA.pem)
    assert read_public_keys([path]) == (ANNA.public,)


def rsa_pem() -> bytes:
    public = generate_private_key(65537, 2048).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            ANNA.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            "this is a private key; expected the public one",
        ),
        (ANNA.pem + BERT.pem, "more than one key"),
        (rsa_pem(), "not a key that is known here"),
        (b"", "not a key"),
        (b"\xff\x00", "not a key"),
        (ANNA.pem.replace(b"MCow", b"AAAA"), "not a key"),
    ],
)
def test_a_file_without_one_public_key_is_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=expected) as caught:
        read_public_keys([path])
    assert str(path) in str(caught.value)
    assert "BEGIN" not in str(caught.value)


def test_a_key_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.pem: it cannot be read: No such file"):
        read_public_keys([tmp_path / "gone.pem"])


def test_a_bundle_without_signatures_is_checked_without_the_library(toy: Bundle) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from steersman.bundle.bundle import Bundle\n"
        "from steersman.bundle.signature import ASK_NOBODY, check_signatures\n"
        f"check_signatures(Bundle.open(Path({str(toy.path)!r})), ASK_NOBODY)\n"
        "sys.exit('cryptography' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0
