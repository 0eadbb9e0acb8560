"""Starting a peer, checking that it answers rightly, and ending it with all that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from benchmarks.errors import BenchmarkError
from benchmarks.peers.model import Oracle
from benchmarks.peers.peer import APPS, MODEL_VARIABLE, Launch, Peer, Place, free_port
from benchmarks.peers.wire import Wire
from benchmarks.policies import PolicyShape
from benchmarks.processes import Process, Roles, running_processes, tree
from benchmarks.servers import Server

CHECKED_ROWS = 32
RETRY_S, END_S = 0.2, 15.0
ROLES = Roles("server", "server")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@contextmanager
def running(peer: Peer, venv: Path, shape: PolicyShape, model: Path, folder: Path) -> Iterator[Server]:
    """A peer that answers for the policy, in `folder`.

    Raises:
        BenchmarkError: It did not start; the last of its log is told.
    """
    folder.mkdir()
    place = Place(venv, folder, shape.name, shape.features, shape.actions, free_port(), free_port())
    log = folder / "log"
    launch = peer.launch(place)
    with log.open("wb") as output:
        process = subprocess.Popen(
            launch.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(launch, model),
            cwd=folder,
            start_new_session=True,  # as Steersman's worker: the kernel shares out cores by session
        )
    try:
        address = f"127.0.0.1:{place.port}"
        _await_answer(peer, process, address, shape, log)
        yield Server(peer.name, address, process.pid, ROLES)
    finally:
        _end(process)


def check_answers(wire: Wire, address: str, shape: PolicyShape, oracle: Oracle) -> None:
    """Asks about random rows: each must get the action that the model itself gives.

    Raises:
        BenchmarkError: One got another.
    """
    rng = np.random.default_rng(0)
    for _ in range(CHECKED_ROWS):
        observation = rng.normal(size=shape.features).astype(np.float32)
        mask = rng.random(shape.actions) < 0.5
        mask[rng.integers(shape.actions)] = True
        action, expected = wire.ask(address, shape.name, observation, mask).action, oracle(observation, mask)
        if action != expected:
            raise BenchmarkError(f"it chose action {action}", where=address, expected=f"action {expected}")


def _environment(launch: Launch, model: Path) -> dict[str, str]:
    ours = {"PYTHONPATH": str(APPS), "PYTHONDONTWRITEBYTECODE": "1", MODEL_VARIABLE: str(model)}
    return {**os.environ, **ONE_THREAD, **ours, **launch.environment}


def _await_answer(
    peer: Peer, process: subprocess.Popen[bytes], address: str, shape: PolicyShape, log: Path
) -> None:
    """Asks until it answers."""
    deadline = time.monotonic() + peer.start_s
    while True:
        try:
            peer.wire.ask(address, shape.name, *shape.row())
        except BenchmarkError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                last = log.read_text(errors="replace").strip()[-600:]
                raise BenchmarkError(f"does not answer: {error}\n{last}", where=peer.name) from None
            time.sleep(RETRY_S)
        else:
            return


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asks it to end; what is left of it after a while is killed, whatever process group that is in."""
    with suppress(BenchmarkError):
        started = tree(process.pid, running_processes())
        process.terminate()
        deadline = time.monotonic() + END_S
        while (left := _left(started)) and time.monotonic() < deadline:
            process.poll()
            time.sleep(RETRY_S)
        for each in left:
            with suppress(ProcessLookupError):
                os.kill(each.pid, signal.SIGKILL)
    process.wait()


def _left(started: list[Process]) -> list[Process]:
    """Those that still run; a process id that was given to another meanwhile is none of them."""
    now = {(each.pid, each.start_ticks) for each in running_processes()}
    return [each for each in started if (each.pid, each.start_ticks) in now]
