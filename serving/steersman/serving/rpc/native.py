"""The native transport: HTTP/2 and gRPC in Rust outside the interpreter's lock (PyPI `pygrpc-native`).

The calls that wait come as one list, are decoded, decided and answered in one go on a thread of their own.
Only unary methods; whatever else comes to the port goes on to a grpcio server on a socket file behind it,
which submits to the same dispatcher. The library has no TLS, no roles and no limit on a message before it is
there, and is young: docs/transports.md says what is guarded here and what is not.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from steersman.serving.rpc.native_batch import NativeBatch
from steersman.serving.rpc.native_front import NativeMethod
from steersman.serving.rpc.native_reading import Event, Reader
from steersman.serving.rpc.reception import Reception

if TYPE_CHECKING:
    from pygrpc_native import NativeGrpcFront

MAX_EVENTS = 256
"""Most calls that are taken at a time."""
RECEIVE_MS = 50
"""Longest wait for a call; so often the thread shows that it turns."""
FLUSH_S = 0.1
"""Answers that were given just before the close are lost without this wait."""
POLL_S = 0.005
PANIC_STATUS = 70
MOST_CANCELLED = 100_000
EVENT_CALL = 0
"""As the library has it; a test compares."""

log = logging.getLogger(__name__)


class NativeServer:
    """Takes calls from a front on a thread.

    Args:
        front: The front.
        methods: What it answers, in the order that the front was given them.
        reception: What becomes of calls.
        die: Ends the process; what a panic in the library comes to.
    """

    def __init__(
        self,
        front: NativeGrpcFront,
        methods: Sequence[NativeMethod],
        reception: Reception,
        die: Callable[[int], Any] = os._exit,
    ) -> None:
        self.turned_ns = time.monotonic_ns()
        self._front = front
        self._reader = Reader(methods, reception, lambda: self._draining)
        self._reception = reception
        self._die = die
        self._cancelled: set[int] = set()
        self._draining = False
        self._thread = threading.Thread(target=self._live, name="native", daemon=True)

    def start(self) -> None:
        """Takes calls."""
        self._front.start()
        self._thread.start()

    def refuse(self) -> None:
        """Takes no new calls: they fail, and may be tried elsewhere. The port stays open until `close`."""
        self._draining = True

    def close(self, grace_s: float) -> None:
        """Lets the calls in flight finish, for at most so long, and closes. Blocks."""
        self._draining = True
        deadline = time.monotonic() + grace_s
        while self._reception.admission.in_flight > 0 and time.monotonic() < deadline:
            time.sleep(POLL_S)
        time.sleep(FLUSH_S)
        self._front.close()
        self._thread.join(timeout=grace_s + 1.0)

    def _live(self) -> None:
        """A panic in the library leaves it in no state to go on; the supervisor starts another worker."""
        try:
            while (events := self._front.recv_batch_details(MAX_EVENTS, RECEIVE_MS)) is not None:
                self.turned_ns = time.monotonic_ns()
                if events:
                    self._take(events)
        except BaseException:
            log.critical("the native transport broke; ending this worker", exc_info=True)
            self._die(PANIC_STATUS)
            raise

    def _take(self, events: Sequence[Event]) -> None:
        """Answers or hands over all calls of a batch."""
        arrived_ns = time.perf_counter_ns()
        batch = NativeBatch(self._front, self._reception, self._cancelled)
        calls = [event for event in events if event[0] == EVENT_CALL]
        if len(calls) < len(events):
            for event in events:
                if event[0] != EVENT_CALL:
                    self._note_cancelled(event[1])
        self._reader.read(batch, calls, arrived_ns)
        batch.submit()

    def _note_cancelled(self, call_id: int) -> None:
        """Only a call that waits for a model can still be spared."""
        if not self._reception.admission.in_flight or len(self._cancelled) > MOST_CANCELLED:
            self._cancelled.clear()
        self._cancelled.add(call_id)
