"""The document: a table for every family of policies, and what SB3 does not allow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version

from tools.export_coverage.asking import TIE
from tools.export_coverage.comparing import MASKED_EVERY, PLAYED_STEPS, SEQUENCE_STEPS
from tools.export_coverage.factors import FAMILIES, Cell
from tools.export_coverage.law import LIMIT, SAMPLES
from tools.export_coverage.matrix import pairwise_cells
from tools.export_coverage.models import can_learn
from tools.export_coverage.outcomes import MOST_ERROR, Outcome
from tools.export_coverage.rules import RULES
from tools.export_coverage.states import COPIES

Rows = Sequence[Sequence[str]]

_HEAD = (
    "algorithm",
    "policy",
    "observation",
    "action",
    "options",
    "states",
    "disagreements",
    "max action error",
    "sampling",
    "int8",
    "export, s",
    "outcome",
)
_LIBRARIES = ("stable-baselines3", "sb3-contrib", "torch", "onnxruntime", "gymnasium", "numpy")


def document(outcomes: Mapping[Cell, Outcome]) -> str:
    """The whole document, as Markdown."""
    families = [_family(family, outcomes) for family in FAMILIES]
    return "\n\n".join([_opening(outcomes), *families, _refused(), _untrained(outcomes)]).rstrip() + "\n"


def _opening(outcomes: Mapping[Cell, Outcome]) -> str:
    count = Counter(outcome.verdict for outcome in outcomes.values())
    states = sum(outcome.states for outcome in outcomes.values())
    tally = ", ".join(f"{count[verdict]} {verdict}" for verdict in ("passed", "differs", "refused", "failed"))
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return f"""\
# What export was tried on

Written by `make export-coverage`; do not edit. That command trains {len(outcomes)} tiny models, exports
each with the public API, opens the bundle and compares its graph with `model.predict` of the model that
still lives, without anything of the exporter's own checks. It takes a while and shows a line for every
model. Called again it runs what has not passed; results of older code are made anew.

**{len(outcomes)} models: {tally}; {states:,} states compared.**

With {libraries}.

## How to read it

- **Models**: every algorithm with every kind of observation and of action that SB3 allows, and every pair
  of what else can be chosen, each at least once (`tools/export_coverage/matrix.py`). CI runs
  {len(pairwise_cells())} of them, chosen to have every pair of kinds and options, without 8-bit variants:
  `make export-coverage ARGS=--pairwise`. They learn for a few steps; then all weights are moved by
  chance, so that the answers differ from state to state.
- **States**: {COPIES} copies of an environment played for {PLAYED_STEPS} steps with sampled actions, and
  the corners of the space; recurrent policies over {SEQUENCE_STEPS} steps with episodes that end at
  different steps, each side carrying its own state. Where actions are choices, all of them again within
  masks (of sequences, every {MASKED_EVERY}th step), every other row with a single choice; where `predict`
  takes no mask, the expected choice is the best of the model's own scores among those allowed.
- **Disagreements**: choices that differ, unless the model's own two best scores are within {TIE:g} of
  each other. None passes. Ties that fell differently are in brackets.
- **Max action error**: of continuous actions, relative to max(1, |action|). {MOST_ERROR:g} is the most
  that passes.
- **Sampling**: the distance in law (two-sample Kolmogorov-Smirnov) of {SAMPLES:,} sampled actions from as
  many of `predict(deterministic=False)`, the largest over action elements and some states; {LIMIT:.3f} is
  the most that passes. Not looked at with images.
- **int8**: the scheme that passed its gates, or none. A network this small has little to gain from 8
  bits.
- **Options**: what departs from the plainest: `net_arch` a list, one extractor shared, no VecNormalize,
  no gSDE, synthetic states given to the exporter."""


def _family(family: str, outcomes: Mapping[Cell, Outcome]) -> str:
    rows = [_row(cell, outcome) for cell, outcome in outcomes.items() if cell.family == family]
    table = _table(_HEAD, rows, right=range(5, 9))
    messages = {o.message for cell, o in outcomes.items() if cell.family == family and o.message}
    remarks = "\n".join(f"- {message}" for message in sorted(messages))
    heading = f"## {family[0].upper()}{family[1:]}: {', '.join(FAMILIES[family])}"
    return "\n\n".join(part for part in (heading, table, remarks) if part)


def _row(cell: Cell, outcome: Outcome) -> Sequence[str]:
    done = outcome.verdict in {"passed", "differs"}
    ties = f" ({outcome.ties})" if outcome.ties else ""
    figures = (
        f"{outcome.states:,}",
        "" if outcome.error is not None else f"{outcome.disagreements}{ties}",
        "" if outcome.error is None else f"{outcome.error:.1e}",
        "" if outcome.law is None else f"{outcome.law:.3f}",
        outcome.int8,
        f"{outcome.seconds:.1f}",
    )
    shown = figures if done else ("",) * len(figures)
    return (cell.algorithm, cell.policy, cell.observation, cell.action, cell.options, *shown, outcome.verdict)


def _refused() -> str:
    rows = [(rule.who, rule.reason) for rule in RULES if rule.reason]
    return "## What SB3 does not allow\n\n" + _table(("of", "reason"), rows)


def _untrained(outcomes: Mapping[Cell, Outcome]) -> str:
    if all(can_learn(cell) for cell in outcomes):
        return ""
    return (
        "RecurrentPPO with MultiBinary actions is exported untrained: sb3-contrib makes and runs such a "
        "model, but its buffer keeps the actions as int8, which the loss refuses."
    )


def _table(head: Sequence[str], rows: Rows, right: range = range(0)) -> str:
    line = ["--:" if i in right else "---" for i in range(len(head))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, line, *rows))
