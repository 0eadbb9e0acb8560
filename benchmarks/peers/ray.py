"""Ray Serve with its gRPC proxy."""

from __future__ import annotations

from benchmarks.peers.peer import APPS, PROTOS, Launch, Peer, Place
from benchmarks.peers.wire import OpenInference


def _launch(place: Place) -> Launch:
    return Launch(
        (place.python, str(APPS / "ray_app.py"), str(place.port), str(place.other_port)),
        {
            "PYTHONPATH": f"{APPS}:{PROTOS}",
            "RAY_AUTH_MODE": "disabled",
            "RAY_TMPDIR": str(place.folder),
            "RAY_USAGE_STATS_ENABLED": "0",
        },
    )


RAY = Peer(
    name="Ray Serve",
    package="ray",
    lock="ray.txt",
    wire=OpenInference(),
    setting="gRPC proxy and one replica; the cluster's own processes count too",
    launch=_launch,
    start_s=120.0,
)
