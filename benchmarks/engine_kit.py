"""The decision core as a worker sets it up, in this process and without a transport."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.exchange import make_request
from benchmarks.policies import PolicyShape
from steersman.monitoring.counters import DEFAULT_SLOT_CELLS, Segment, Slot
from steersman.serving.counting import counters_layout
from steersman.serving.deciding.call import Call
from steersman.serving.deciding.engine import Engine
from steersman.serving.deciding.episodes import EpisodeKeeper
from steersman.serving.deciding.routing import RoutingTable
from steersman.serving.deciding.runtime import LaneRuntime
from steersman.serving.loading.loader import Loader
from steersman.serving.planning.planner import Planner
from steersman.serving.rollout.keyring import Keyring
from steersman.serving.rollout.tokens import TokenCodec
from steersman.serving.rpc.convert import decode_call
from steersman.v1 import policy_pb2 as pb

SALT = bytes(range(32))


def load_engine(repository: Path, folder: Path) -> Engine:
    """An engine that serves all policies of a repository; `folder` is for its counters."""
    segment = Segment.create(folder / "counters", counters_layout(1, DEFAULT_SLOT_CELLS))
    plan = Planner(repository, {}, (), segment.allocator()).plan(generation=1)
    loader = Loader(Slot.open(segment.path, 0).block, folder)
    engine = Engine(SALT, EpisodeKeeper(TokenCodec(Keyring.new()), 3600.0))
    engine.swap(loader.load(plan.snapshot, RoutingTable()))
    return engine


def lane_of(engine: Engine, shape: PolicyShape) -> LaneRuntime:
    """The lane that answers for a policy."""
    return engine.routing.ready(shape.name).stable


def request_of(shape: PolicyShape, rows: int = 1) -> pb.ActRequest:
    """A call with masks; with one row, the call that the servers get."""
    observation, mask = shape.row()
    return make_request(shape.name, np.tile(observation, (rows, 1)), np.tile(mask, (rows, 1)))


def call_of(shape: PolicyShape, rows: int = 1) -> Call:
    """The same, as a transport hands it over."""
    return decode_call(request_of(shape, rows))
