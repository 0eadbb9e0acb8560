"""The plot: the pump's speed with and without the shield."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from driving import BLIND, Drive
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from plant import STEP_S

ZONE = (0.45, 0.55)
MOST_PER_S = 0.4
INK, GREY, RED, BLUE, AMBER = "#22262b", "#9aa1a9", "#c0392b", "#1f6fb2", "#d98e04"


def draw(free: Drive, shielded: Drive, path: Path) -> None:
    """Draws both drives, of the same demand, into a PNG.

    Args:
        free: Without constraints.
        shielded: With them.
        path: The file.
    """
    figure = Figure(figsize=(10, 7.2), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 2))
    _speeds(top, free, "without the shield: what the policy wants is what the pump does")
    _speeds(
        middle,
        shielded,
        "with it: at most 0.4 per second, never within the resonance, and an answer without a level",
    )
    middle.step(
        _seconds(shielded), shielded.wanted, where="post", color=GREY, lw=1, label="what the policy wanted"
    )
    _marked(middle, shielded)
    middle.legend(loc="upper left", ncols=4, fontsize=8, frameon=False)
    for drive, color, label in ((free, RED, "without"), (shielded, BLUE, "with the shield")):
        bottom.plot(_seconds(drive), drive.observations[:, 0], color=color, lw=1.4, label=label)
    bottom.axhline(0, color=GREY, lw=0.8)
    bottom.set(ylabel="level error (m)", xlabel="time (s)")
    bottom.legend(loc="upper right", ncols=2, fontsize=8, frameon=False)
    for axes in (top, middle, bottom):
        axes.axvspan(BLIND[0] * STEP_S, (BLIND[-1] + 1) * STEP_S, color=AMBER, alpha=0.15, lw=0)
        axes.spines[["top", "right"]].set_visible(False)
    middle_s = (BLIND[0] + len(BLIND) / 2) * STEP_S
    top.text(middle_s, 1.33, "no level", ha="center", va="top", fontsize=8, color=INK)
    figure.savefig(path, dpi=130)


def _speeds(axes: Axes, drive: Drive, title: str) -> None:
    axes.axhspan(*ZONE, color=RED, alpha=0.12, lw=0)
    axes.step(_seconds(drive), drive.speeds, where="post", color=INK, lw=1.5, label="speed")
    axes.set(ylim=(-0.05, 1.4), yticks=np.arange(0, 1.2, 0.2), ylabel="pump speed")
    axes.set_title(title, loc="left", fontsize=10)
    inside, fast = broken(drive)
    for rows, mark, label in ((inside, ".", "in the resonance"), (fast, "x", "changed too fast")):
        if rows.any():
            axes.plot(_seconds(drive)[rows], drive.speeds[rows], mark, color=RED, ms=6, label=label)
    axes.legend(loc="upper left", ncols=4, fontsize=8, frameon=False)


def _marked(axes: Axes, drive: Drive) -> None:
    for source, color in (("shield", BLUE), ("fallback", AMBER)):
        rows = np.array([made == source for made in drive.sources])
        axes.plot(_seconds(drive)[rows], drive.speeds[rows], ".", color=color, ms=6, label=source)


def broken(drive: Drive) -> tuple[np.ndarray, np.ndarray]:
    """Steps within the resonance, and steps of too large a change: [N] bool each."""
    speeds = drive.speeds.astype(np.float64)
    inside = (speeds > ZONE[0] + 1e-6) & (speeds < ZONE[1] - 1e-6)
    fast = np.zeros(len(speeds), np.bool_)
    fast[1:] = np.abs(np.diff(speeds)) > MOST_PER_S * STEP_S + 1e-6
    return inside, fast


def _seconds(drive: Drive) -> np.ndarray:
    return np.arange(len(drive.speeds)) * STEP_S
