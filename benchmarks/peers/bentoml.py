"""BentoML."""

from __future__ import annotations

from benchmarks.peers.peer import Launch, Peer, Place
from benchmarks.peers.wire import JsonHttp


def _launch(place: Place) -> Launch:
    command = (place.command("bentoml"), "serve", "bentoml_app:PolicyService")
    return Launch(
        (*command, "--host", "127.0.0.1", "--port", str(place.port)),
        {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(place.folder)},
    )


BENTOML = Peer(
    name="BentoML",
    package="bentoml",
    lock="bentoml.txt",
    wire=JsonHttp(),
    setting="one worker, no batching, metrics and access log off",
    launch=_launch,
)
