"""A worker as its supervisor drives it: snapshots come, are swapped whole, and a bad one changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from steersman.monitoring.blocks import Allocator
from steersman.monitoring.counters import Segment
from steersman.serving.counting import counters_layout
from steersman.serving.limits import Limits
from steersman.serving.messages import Routed, Start
from steersman.serving.planning.planner import Planner
from steersman.serving.rollout.keyring import Keyring
from steersman.serving.rollout.snapshot import RoutingSnapshot
from steersman.serving.supervising.ports import HeldPort
from steersman.serving.supervising.worker_process import WorkerProcess
from support.toy_bundle import publish_toy


class Setting:
    """A repository with one version, and a worker that serves it."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "bundles"
        publish_toy(self.root)
        self.segment = Segment.create(folder / "counters", counters_layout(1, 100_000))
        self.allocator: Allocator = self.segment.allocator()
        self.port = HeldPort("127.0.0.1", 0)
        self.heard: list[int] = []
        self.news = asyncio.Event()

    def hear(self, _: int, routed: Routed) -> None:
        self.heard.append(routed.generation)
        self.news.set()

    def snapshot(self, generation: int) -> RoutingSnapshot:
        return Planner(self.root, {}, (), self.allocator).plan(generation).snapshot

    def start(self, folder: Path) -> Start:
        return Start(
            slot=0,
            segment=str(self.segment.path),
            host="127.0.0.1",
            port=self.port.port,
            salt=bytes(32).hex(),
            keyring=Keyring.new(),
            cache=str(folder),
            limits=Limits(max_rows=64, max_message_bytes=1 << 20),
            log_level="error",
            log_json=True,
            snapshot=self.snapshot(1),
        )


@pytest.fixture
async def setting(tmp_path: Path) -> AsyncIterator[tuple[Setting, WorkerProcess]]:
    made = Setting(tmp_path)
    worker = WorkerProcess(0, made.hear)
    await worker.spawn(made.start(tmp_path), timeout_s=60)
    yield made, worker
    assert await worker.drain(0.0, 1.0) == 0
    made.port.close()


def served(worker: WorkerProcess) -> list[int]:
    assert worker.routed is not None
    return [lane.version for lane in worker.routed.lanes]


async def until_heard(setting: Setting, generation: int) -> None:
    async with asyncio.timeout(20):
        while generation not in setting.heard:
            setting.news.clear()
            await setting.news.wait()


async def test_a_new_snapshot_replaces_the_old_one(setting: tuple[Setting, WorkerProcess]) -> None:
    made, worker = setting
    assert served(worker) == [1]
    publish_toy(made.root)
    worker.route(made.snapshot(2))
    await until_heard(made, 2)
    assert served(worker) == [2]


async def test_a_version_that_fails_leaves_the_old_one_serving(
    setting: tuple[Setting, WorkerProcess],
) -> None:
    made, worker = setting
    newer = publish_toy(made.root)
    snapshot = made.snapshot(2)
    (newer.path / "certificate.npz").write_bytes(b"damaged after it was planned")
    worker.route(snapshot)
    await until_heard(made, 2)
    assert served(worker) == [1]
    assert worker.routed is not None
    (failure,) = worker.routed.failures
    assert (failure.version, "changed" in failure.message) == (2, True)
