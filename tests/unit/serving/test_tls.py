"""TLS: files that do not fit are refused at the start, and changed certificates are used without one."""

from __future__ import annotations

import asyncio
import socket
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from steersman.bundle.errors import UsageError
from steersman.serving.errors import ServingError
from steersman.serving.messages import TlsFiles
from steersman.serving.rpc.tls import credentials, listen
from steersman.serving.security.tls_files import read_tls
from steersman.serving.settings import ServerSettings
from support.certificates import Authority

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def folder(tmp_path: Path, authority: Authority) -> Path:
    """A folder with server.pem, server.key and ca.pem."""
    authority.issue("first").write(tmp_path, "server")
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    return tmp_path


def settings_of(folder: Path, **given: Path) -> ServerSettings:
    files = {"tls_certificate": folder / "server.pem", "tls_key": folder / "server.key", **given}
    return ServerSettings(repository=folder, **files)  # type: ignore[arg-type]


def test_without_files_there_is_no_tls(tmp_path: Path) -> None:
    assert read_tls(ServerSettings(repository=tmp_path)) is None


def test_files_that_fit_are_taken_with_absolute_paths(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(folder)
    files = read_tls(settings_of(Path(), tls_client_ca=Path("ca.pem")))
    assert files == TlsFiles(
        certificate=str(folder / "server.pem"),
        key=str(folder / "server.key"),
        client_ca=str(folder / "ca.pem"),
    )
    assert not caplog.records


def encrypted_key() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


@pytest.mark.parametrize(
    ("broken", "content", "said"),
    [
        ("server.pem", b"no", "tls_certificate: {}: no certificate is in it"),
        ("server.pem", b"", "tls_certificate: {}: no certificate is in it"),
        ("server.pem", None, "tls_certificate: {}: cannot be read: No such file or directory"),
        ("server.key", b"no", "tls_key: {}: no private key is in it"),
        ("server.key", None, "tls_key: {}: cannot be read: No such file or directory"),
        ("server.key", encrypted_key(), "tls_key: {}: the key is encrypted"),
        ("server.key", Authority().issue("other").key, "tls_key: {}: not the key of tls_certificate"),
        ("ca.pem", b"no", "tls_client_ca: {}: no certificate is in it"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line_that_names_its_setting(
    folder: Path, broken: str, content: bytes | None, said: str
) -> None:
    path = folder / broken
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_tls(settings_of(folder, tls_client_ca=folder / "ca.pem"))
    assert str(caught.value).startswith(said.format(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("begins", "ends"), [(-2 * DAY, -DAY), (DAY, 2 * DAY)])
def test_a_certificate_that_is_not_valid_now_is_warned_of(
    folder: Path, authority: Authority, caplog: pytest.LogCaptureFixture, begins: timedelta, ends: timedelta
) -> None:
    authority.issue("late", begins=begins, ends=ends).write(folder, "server")
    assert read_tls(settings_of(folder)) is not None
    (record,) = caplog.records
    assert record.message == "certificate is not valid now"


def test_a_worker_that_cannot_read_a_file_says_so(folder: Path) -> None:
    files = TlsFiles(certificate=str(folder / "none"), key=str(folder / "server.key"))
    with pytest.raises(ServingError, match="cannot be read: No such file"):
        credentials(files)


async def shown_name(port: int, authority: Authority) -> str:
    """The common name in the certificate that the server shows now."""

    def ask() -> bytes:
        context = ssl.create_default_context(cadata=authority.pem.decode())
        context.set_alpn_protocols(["h2"])
        with (
            socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            return secure.getpeercert(binary_form=True) or b""

    found = x509.load_der_x509_certificate(await asyncio.to_thread(ask))
    return str(found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


async def test_a_changed_certificate_is_used_without_a_restart(folder: Path, authority: Authority) -> None:
    server = grpc.aio.server()
    files = TlsFiles(certificate=str(folder / "server.pem"), key=str(folder / "server.key"))
    port = listen(server, "localhost:0", files)
    await server.start()
    assert await shown_name(port, authority) == "first"

    second = authority.issue("second")
    (folder / "server.pem").write_bytes(second.certificate)
    assert await shown_name(port, authority) == "first", "the key does not fit yet"
    (folder / "server.key").write_bytes(second.key)
    assert await shown_name(port, authority) == "second"

    (folder / "server.pem").unlink()
    assert await shown_name(port, authority) == "second"
    await server.stop(None)


async def test_a_port_that_is_taken_is_an_error(folder: Path) -> None:
    server: Any = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    port = listen(server, "127.0.0.1:0", None)
    with pytest.raises(ServingError, match="cannot listen"):
        listen(grpc.aio.server(options=(("grpc.so_reuseport", 0),)), f"127.0.0.1:{port}", None)
    await server.stop(None)
