"""LitServe."""

from __future__ import annotations

from benchmarks.peers.peer import APPS, Launch, Peer, Place
from benchmarks.peers.wire import JsonHttp


def _launch(place: Place) -> Launch:
    return Launch((place.python, str(APPS / "litserve_app.py"), str(place.port)))


LITSERVE = Peer(
    name="LitServe",
    package="litserve",
    lock="litserve.txt",
    wire=JsonHttp(),
    setting="one API server, one worker, no batching, access log off",
    launch=_launch,
)
