"""Listeners of grpcio, with TLS and mTLS where their files are named; changed files are read again."""

from __future__ import annotations

import threading
from pathlib import Path

import grpc
import grpc.aio

from steersman.serving.errors import ServingError
from steersman.serving.messages import TlsFiles


class _Certificates:
    """A listener's certificate, key and authorities as their files are now, looked at with each handshake."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._seen = self._stamp()
        self.first = self._read()

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Other certificates if a file has changed; gRPC keeps the old ones where the new do not fit."""
        try:
            with self._lock:
                stamp = self._stamp()
                if stamp == self._seen:
                    return None
                changed = self._read()
                self._seen = stamp
                return changed
        except OSError:  # being replaced: the next handshake looks again
            return None

    def _paths(self) -> tuple[Path, ...]:
        files = self._files
        return tuple(Path(name) for name in (files.certificate, files.key, files.client_ca) if name)

    def _stamp(self) -> tuple[tuple[int, int, int], ...]:
        stats = [path.stat() for path in self._paths()]
        return tuple((stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in stats)

    def _read(self) -> grpc.ServerCertificateConfiguration:
        chain, key, *authorities = (path.read_bytes() for path in self._paths())
        return grpc.ssl_server_certificate_configuration([(key, chain)], *authorities)


def credentials(files: TlsFiles) -> grpc.ServerCredentials:
    """Credentials of a listener; files that change are read again, without a restart.

    Raises:
        ServingError: A file cannot be read.
    """
    try:
        certificates = _Certificates(files)
    except OSError as error:
        raise ServingError(f"cannot be read: {error.strerror}", where=str(error.filename)) from None
    return grpc.dynamic_ssl_server_credentials(
        certificates.first,
        certificates.changed,  # type: ignore[arg-type]  # None, which the stubs forget, is for no change
        require_client_authentication=bool(files.client_ca),
    )


def listen(server: grpc.aio.Server, address: str, tls: TlsFiles | None) -> int:
    """Opens a port, with TLS where files are named. Returns its number.

    Raises:
        ServingError: The port cannot be opened, or a file of TLS is wrong.
    """
    try:
        if tls is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials(tls))
    except RuntimeError as error:
        raise ServingError(f"cannot listen on {address}", where=address) from error
