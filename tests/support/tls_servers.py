"""Servers that are there for their TLS alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc

from support.certificates import Pem


@contextmanager
def listening(pem: Pem | None = None, client_ca: bytes | None = None) -> Iterator[str]:
    """A server that has no methods: whoever gets that far learns so."""
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        if pem is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            pairs = [(pem.key, pem.certificate)]
            port = server.add_secure_port(
                "127.0.0.1:0", grpc.ssl_server_credentials(pairs, client_ca, client_ca is not None)
            )
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(None).wait()
