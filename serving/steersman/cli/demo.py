"""`steersman demo`."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from steersman.bundle.errors import UsageError

NEEDED = ("torch", "stable_baselines3", "gymnasium", "onnx", "onnxscript")


def demo(
    *,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the server up and print its addresses.")
    ] = False,
    folder: Annotated[Path, typer.Option(help="Where runs, bundles and logs go.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of training and episodes.")] = 0,
) -> None:
    """Watch a policy being trained, exported, served, called, masked, protected and measured.

    Takes about a minute and ends by itself. Exit status 1 when something did not come out as it must.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"the demo needs {', '.join(missing)}",
            hint="Install it with: pip install 'steersman[training,export]'",
        )
    from rich.console import Console

    from steersman.demo.story import DemoSettings, run_demo
    from steersman.demo.telling import Teller

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot be made: {error.strerror}", where=f"--folder {folder}") from None
    run_demo(DemoSettings(folder, seed, keep), Teller(Console()))
