"""The peers."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.peers.bentoml import BENTOML
from benchmarks.peers.kserve import KSERVE
from benchmarks.peers.litserve import LITSERVE
from benchmarks.peers.mlserver import MLSERVER
from benchmarks.peers.peer import Peer
from benchmarks.peers.ray import RAY
from benchmarks.peers.triton import TRITON

PEERS: Sequence[Peer] = (TRITON, MLSERVER, KSERVE, RAY, BENTOML, LITSERVE)
