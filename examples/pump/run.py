"""Trains a pump's policy, exports and serves it, and drives with and without the shield.

    make example            # writes build/example/pump.png

Nothing in the policy knows of the limits: they are applied to the running server, from `pump.yaml`, while the
same version goes on serving. Ends with status 1 if an action left the server that they forbid.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from drawing import broken, draw
from driving import Drive, drive

from steersman.serving.testing import running_server

HERE = Path(__file__).resolve().parent
SEED = 5


def main() -> int:
    """The example, from nothing to the plot."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, default=Path("build/example"), help="folder for what is made")
    out: Path = options.parse_args().out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    bundle = _policy(out)
    steersman("rules", "test", HERE / "pump.yaml", "--cases", HERE / "cases.yaml", "--bundle", bundle)
    steersman("check", HERE / "pump.yaml", "--bundle", bundle)
    with running_server(out / "bundles", log=out / "server.log") as server:
        free = drive(server.grpc, "free", SEED)
        steersman(
            "deploy", "apply", HERE / "pump.yaml", "--server", server.control, "--reason", "the pump's limits"
        )
        shielded = drive(server.grpc, "shielded", SEED)
    for name, done in (("without", free), ("with", shielded)):
        done.save(out / f"{name}.npz")
        steersman(
            "check",
            HERE / "pump.yaml",
            "--bundle",
            bundle,
            "--rows",
            out / f"{name}.npz",
            "--most",
            "3",
            fails=True,
        )
    draw(free, shielded, out / "pump.png")
    return _told(free, shielded, out / "pump.png")


def _policy(out: Path) -> Path:
    """A trained policy as a bundle; made once."""
    bundle = out / "bundles" / "pump" / "1"
    if not bundle.exists():
        steersman(
            *("train", "--env", "Pump-v0", "--env-import", "plant", "--timesteps", "30000", "--seed", "1"),
            *("--feature-names", "level_error,demand", "--action-names", "speed"),
            *("--hyperparameter", "gamma=0.9", "--out", out / "runs", "--name", "pump", "--quiet"),
        )
        run = out / "runs" / "Pump-v0" / "pump"
        steersman(
            "export",
            run,
            "--repository",
            out / "bundles",
            "--policy",
            "pump",
            "--trust-code",
            "--import-path",
            HERE,
            "--quiet",
        )
    return bundle


def steersman(*words: str | Path, fails: bool = False) -> None:
    """Runs a command of `steersman`, and shows it. `fails`: that it finds something is expected."""
    shown = " ".join(_short(word) for word in words)
    print(f"\n$ steersman {shown}", flush=True)
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    command = [sys.executable, "-m", "steersman.cli", *map(str, words)]
    status = subprocess.run(command, env=environment, check=False).returncode
    if status != (1 if fails else 0):
        sys.exit(f"ended with status {status}")


def _short(word: str | Path) -> str:
    text = str(word)
    text = Path(text).name if isinstance(word, Path) else text
    return f'"{text}"' if " " in text else text


def _told(free: Drive, shielded: Drive, picture: Path) -> int:
    print()
    for name, done in (("without", free), ("with", shielded)):
        inside, fast = broken(done)
        made = ", ".join(f"{count} {source}" for source, count in Counter(done.sources).most_common())
        print(
            f"{name:8} in the resonance: {inside.sum():3} steps   too fast: {fast.sum():3}   made by: {made}"
        )
    print(f"\n{picture}")
    inside, fast = broken(shielded)
    return 1 if (inside | fast).any() else 0


if __name__ == "__main__":
    sys.exit(main())
