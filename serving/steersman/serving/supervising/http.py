"""The supervisor's HTTP port: metrics for Prometheus, health for orchestrators. It changes nothing.

/metrics   all counters of all workers
/healthz   200 while the supervisor runs
/readyz    200 while every worker answers calls, else 503
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from steersman.serving.supervising.ports import cannot_listen

log = logging.getLogger(__name__)
ReadinessProbe = Callable[[], tuple[bool, str]]
"""Whether every worker answers, and a line that says so."""


class HttpServer:
    """Has the port from the beginning; answers on a thread of its own from `serve` until it is closed.

    Raises:
        ServingError: The address is in use or not ours.
    """

    def __init__(self, host: str, port: int) -> None:
        try:
            self._server = _server(host, port)
        except OSError as error:
            raise cannot_listen("HTTP", host, port, "--http-port", error) from None
        self._server.daemon_threads = True
        self.address = f"{f'[{host}]' if ':' in host else host}:{self._server.server_address[1]}"
        self._thread: threading.Thread | None = None

    def serve(self, registry: CollectorRegistry, readiness: ReadinessProbe) -> None:
        """Answers from now on; who has connected before has waited."""
        answers = {"registry": registry, "readiness": staticmethod(readiness)}
        self._server.RequestHandlerClass = type("Handler", (_Handler,), answers)
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops serving."""
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


def _server(host: str, port: int) -> ThreadingHTTPServer:
    """A server for IPv4 or IPv6, as the host is."""
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    kind = type("Server", (ThreadingHTTPServer,), {"address_family": family})
    server: ThreadingHTTPServer = kind((host, port), BaseHTTPRequestHandler)
    return server


class _Handler(BaseHTTPRequestHandler):
    registry: ClassVar[CollectorRegistry]
    readiness: ClassVar[Callable[..., tuple[bool, str]]]
    timeout = 10

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/metrics":
                self._metrics()
            case "/healthz":
                self._answer(HTTPStatus.OK, b"ok\n")
            case "/readyz":
                ready, text = self.readiness()
                status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
                self._answer(status, f"{text}\n".encode())
            case _:
                self._answer(HTTPStatus.NOT_FOUND, b"expected /metrics, /healthz or /readyz\n")

    def _metrics(self) -> None:
        encoder, content_type = choose_encoder(self.headers.get("Accept", ""))
        try:
            text = encoder(self.registry)
        except Exception:  # Prometheus must see a failed scrape, and the server must go on
            log.exception("metrics could not be collected")
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"metrics could not be collected; see the log\n")
        else:
            self._answer(HTTPStatus.OK, text, content_type)

    def _answer(
        self, status: HTTPStatus, body: bytes, content_type: str = "text/plain; charset=utf-8"
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the library's name
        """Scrapes are not worth a line each."""
