"""Build the wheel, install it as the Docker image does, and serve and call a bundle with what was installed.

Runs `deploy/docker/install.sh` and `health.sh`, which are the Dockerfile's own steps, on a copy of the files
that a clean clone has. What it installs has no torch, so a bundle comes from elsewhere: `--repository`
names a bundle repository; without it this environment, which has every extra, trains and exports a policy.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parent.parent
UNWANTED = ("torch", "onnx", "onnxscript", "stable_baselines3", "sb3_contrib", "gymnasium", "matplotlib")
START_SECONDS = 60.0
STOP_SECONDS = 30.0


def main() -> None:
    """Run the whole test in a temporary folder; the first failure ends it with a message."""
    parser = argparse.ArgumentParser(description="Test the built wheel.")
    parser.add_argument("--repository", type=Path, help="a bundle repository; made if not given")
    parser.add_argument("--policy", default="cartpole", help="a policy in it that observes four numbers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="steersman-wheel-") as name:
        folder = Path(name)
        prefix = install(folder)
        check_installed(prefix)
        repository = options.repository or make_repository(folder, options.policy)
        before = listing(prefix, repository)
        check_serving(prefix, repository, options.policy, folder)
        if listing(prefix, repository) != before:
            fail("serving wrote into the installation or the repository; the image has both read-only")
    say("the wheel serves")


def install(folder: Path) -> Path:
    """Run the image's install step on a copy of the checkout; give the environment's folder."""
    say("building and installing as the image does")
    source, prefix, dist = folder / "src", folder / "steersman", folder / "dist"
    copy_checkout(source)
    script = source / "deploy" / "docker" / "install.sh"
    environment = os.environ | {"PYTHON": sys.executable}
    subprocess.run(["sh", str(script), str(source), str(prefix), str(dist)], check=True, env=environment)
    check_wheel(next(dist.glob("*.whl")), source)
    return prefix


def copy_checkout(target: Path) -> None:
    """Copy the files that git knows or would add: what a clean clone has."""
    git = ("git", "-c", "safe.directory=*", "-C", str(ROOT))
    names = run(*git, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def check_wheel(wheel: Path, source: Path) -> None:
    """The wheel holds every file of the five source roots, package data too, and nothing else."""
    packed = set(zipfile.ZipFile(wheel).namelist())
    wanted: set[str] = set()
    for package in source.glob("*/steersman"):
        files = (path for path in package.rglob("*") if path.is_file())
        wanted |= {str(path.relative_to(package.parent)) for path in files}
    if missing := wanted - packed:
        fail(f"the wheel lacks {', '.join(sorted(missing))}")
    if other := {name for name in packed - wanted if ".dist-info/" not in name}:
        fail(f"the wheel holds {', '.join(sorted(other))}")
    say(f"{wheel.name}: {len(packed)} files, {wheel.stat().st_size // 1024} KiB")


def check_installed(prefix: Path) -> None:
    """Nothing that only training and export need is there."""
    code = "import importlib.util, sys; print(*[n for n in sys.argv[1:] if importlib.util.find_spec(n)])"
    found = run(prefix / "bin" / "python", "-P", "-c", code, *UNWANTED).strip()
    if found:
        fail(f"`pip install steersman` brings {found}, which a server must not need")
    run(prefix / "bin" / "python", "-P", "-c", "import psycopg")  # for the store that replicas share
    size = sum(path.stat().st_size for path in prefix.rglob("*") if path.is_file())
    say(f"installed without {', '.join(UNWANTED)}: {size // 2**20} MiB")


def make_repository(folder: Path, policy: str) -> Path:
    """Train a small CartPole policy and export it, with the environment that runs this script."""
    say("training and exporting a small policy with this environment")
    steersman, runs = Path(sys.executable).parent / "steersman", folder / "runs"
    repository = folder / "bundles"
    size = ("--env", "CartPole-v1", "--timesteps", "2000")
    run(steersman, "train", *size, "--out", runs, "--name", "small", "--quiet")
    trained = runs / "CartPole-v1" / "small"
    target = ("--repository", repository, "--policy", policy)
    run(steersman, "export", trained, *target, "--reference-episodes", "20", "--quiet")
    return repository


def check_serving(prefix: Path, repository: Path, policy: str, folder: Path) -> None:
    """Serve, ask for health, call, read the metrics, and stop, all with the installed commands."""
    with server(prefix, repository, folder) as addresses:
        run("sh", prefix / "bin" / "steersman-health", env={"STEERSMAN_HEALTH_TARGET": addresses["grpc"]})
        say("the health check answers SERVING")
        check_call(prefix, policy, addresses["grpc"])
        check_metrics(addresses["http"])


def check_call(prefix: Path, policy: str, target: str) -> None:
    """`steersman act` gets an action from the policy."""
    options = ("--target", target, "--observation", "[0, 0, 0, 0]", "--json")
    answer = json.loads(run(prefix / "bin" / "steersman", "act", policy, *options))
    if "action" not in answer or answer.get("source") != "policy":
        fail(f"`steersman act` got no action from the policy: {answer}")
    say(f"called: action {answer['action']}, source {answer['source']}, version {answer['version']}")


def check_metrics(address: str) -> None:
    """The one decision is counted."""
    with urllib.request.urlopen(f"{address}/metrics", timeout=10) as response:
        text: str = response.read().decode()
    counted = [line for line in text.splitlines() if line.startswith("steersman_decisions_total{")]
    if sum(float(line.rsplit(" ", 1)[1]) for line in counted) != 1:
        fail(f"after one call {address}/metrics counts {counted or 'nothing'}")
    say("the metrics count one decision")


@contextmanager
def server(prefix: Path, repository: Path, folder: Path) -> Iterator[dict[str, str]]:
    """A server on free ports, from ready to stopped by SIGTERM with exit code 0."""
    ready, work = folder / "ready.json", folder / "work"
    work.mkdir()
    ports = ("--port", "0", "--http-port", "0", "--control-port", "0")
    options = ("--repository", repository, *ports, "--ready-file", ready)
    command = [str(part) for part in (prefix / "bin" / "steersman", "serve", *options)]
    process = subprocess.Popen(command, cwd=work, env=image_environment(work))
    try:
        yield wait_ready(process, ready)
        process.send_signal(signal.SIGTERM)
        code = process.wait(STOP_SECONDS)
        if code != 0:
            fail(f"after SIGTERM the server ended with exit code {code}, not 0")
        say("stopped by SIGTERM")
    finally:
        process.kill()
        process.wait()


def wait_ready(process: "subprocess.Popen[bytes]", ready: Path) -> dict[str, str]:
    """The server's addresses, once it has written them."""
    start = time.monotonic()
    while not ready.exists():
        if process.poll() is not None:
            fail(f"the server ended before it was ready, with exit code {process.returncode}")
        if time.monotonic() - start > START_SECONDS:
            fail(f"the server was not ready within {START_SECONDS:.0f} s")
        time.sleep(0.05)
    say(f"ready after {time.monotonic() - start:.1f} s")
    addresses: dict[str, str] = json.loads(ready.read_text())
    return addresses


def image_environment(home: Path) -> dict[str, str]:
    """The Dockerfile's ENV, and nothing of this checkout's environment."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    switches = ("PYTHONSAFEPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")
    return kept | dict.fromkeys(switches, "1") | {"HOME": str(home)}


def run(*command: str | Path, env: dict[str, str] | None = None) -> str:
    """Run a command to its end and give its standard output; a failure ends the test with all it said."""
    parts = [str(part) for part in command]
    done = subprocess.run(parts, capture_output=True, text=True, env=os.environ | (env or {}), check=False)
    if done.returncode != 0:
        fail(f"`{' '.join(parts)}` ended with exit code {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def listing(*folders: Path) -> dict[str, int]:
    """Every file below the folders, with its time of change."""
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return {str(path): path.stat().st_mtime_ns for path in files}


def say(text: str) -> None:
    """One line of progress."""
    print(f"wheel test: {text}", flush=True)


def fail(text: str) -> NoReturn:
    """End the test."""
    sys.exit(f"wheel test FAILED: {text}")


if __name__ == "__main__":
    main()
