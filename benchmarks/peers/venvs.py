"""The virtual environments of the peers: made once, outside of the repository, from pinned packages."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.errors import BenchmarkError
from benchmarks.peers.peer import Peer

DONE = ".complete"
INSTALL_S = 1800


def default_folder() -> Path:
    """Where the environments are, if nobody says otherwise: the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "steersman" / "benchmark-peers"


def environment(peer: Peer, folder: Path) -> Path:
    """The peer's environment below `folder`, made if it is not there yet or its packages have changed.

    Raises:
        BenchmarkError: It cannot be made; the last of what pip said is told.
    """
    venv = folder / f"{peer.lock_file.stem}-{_fingerprint(peer)}"
    if not (venv / DONE).exists():
        shutil.rmtree(venv, ignore_errors=True)
        _say(peer, sys.executable, "-m", "venv", str(venv))
        pip = (str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input")
        _say(peer, *pip, "install", "--no-deps", "-r", str(peer.lock_file))
        (venv / DONE).touch()
    return venv


def _fingerprint(peer: Peer) -> str:
    """Changes with the packages and with the Python they are for."""
    python = f"{sys.implementation.cache_tag} {sys.base_prefix}"
    return hashlib.sha256(peer.lock_file.read_bytes() + python.encode()).hexdigest()[:12]


def _say(peer: Peer, *command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BenchmarkError(f"cannot be installed: {error}", where=peer.name) from None
    if done.returncode:
        said = " ".join(done.stderr.strip().splitlines()[-2:])[-400:]
        raise BenchmarkError(f"cannot be installed: {said}", where=peer.name)
