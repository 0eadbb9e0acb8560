"""MLServer with a custom runtime."""

from __future__ import annotations

import json

from benchmarks.peers.peer import Launch, Peer, Place
from benchmarks.peers.wire import OpenInference


def _launch(place: Place) -> Launch:
    settings = {
        "host": "127.0.0.1",
        "grpc_port": place.port,
        "http_port": place.other_port,
        "parallel_workers": 0,
        "metrics_endpoint": None,
        "debug": False,
    }
    model = {"name": place.name, "implementation": "mlserver_model.PolicyModel"}
    (place.folder / "settings.json").write_text(json.dumps(settings))
    (place.folder / "model-settings.json").write_text(json.dumps(model))
    return Launch((place.command("mlserver"), "start", str(place.folder)))


MLSERVER = Peer(
    name="MLServer",
    package="mlserver",
    lock="mlserver.txt",
    wire=OpenInference(),
    setting="custom runtime in the server's process (parallel_workers 0), metrics and debug off",
    launch=_launch,
)
