"""KServe's Python server with a custom model."""

from __future__ import annotations

from benchmarks.peers.peer import APPS, Launch, Peer, Place
from benchmarks.peers.wire import OpenInference


def _launch(place: Place) -> Launch:
    ports = (str(place.port), str(place.other_port))
    return Launch((place.python, str(APPS / "kserve_app.py"), place.name, *ports))


KSERVE = Peer(
    name="KServe",
    package="kserve",
    lock="kserve.txt",
    wire=OpenInference(),
    setting="custom model, one worker, access and latency logs off; it logs each gRPC call all the same",
    launch=_launch,
)
