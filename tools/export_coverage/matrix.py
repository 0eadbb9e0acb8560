"""Which cells there are: the pairwise ones that CI runs, and the whole matrix, which has those and more."""

from __future__ import annotations

import itertools
from functools import cache

from tools.export_coverage.covering import Column, Covering, Demand
from tools.export_coverage.factors import ACTION_KINDS, FACTORS, FAMILIES, OBSERVATION_KINDS, Cell, group_of
from tools.export_coverage.rules import allowed

_ALGORITHM = Column("algorithm", "algorithm")
_FAMILY = Column("family", "algorithm", lambda value: group_of(FAMILIES, value))
_OBSERVATION = Column("observation", "observation")
_OBSERVATION_KIND = Column(
    "observation kind", "observation", lambda value: group_of(OBSERVATION_KINDS, value)
)
_ACTION = Column("action", "action")
_ACTION_KIND = Column("action kind", "action", lambda value: group_of(ACTION_KINDS, value))
_STATISTICS = Column("statistics", "statistics")
_EXTRACTOR = Column("extractor", "extractor")
_NET = Column("net", "net")
_ACTIVATION = Column("activation", "activation")
_EXPLORATION = Column("exploration", "exploration")
_GSDE = Column("gSDE", "exploration", lambda value: "gSDE" if value.startswith("gSDE") else "no gSDE")
_LSTM = Column("lstm", "lstm")
_STATES = Column("states", "states")


def _pairs(*columns: Column) -> tuple[Demand, ...]:
    return tuple(itertools.combinations(columns, 2))


PAIRWISE: tuple[Demand, ...] = (
    (_ALGORITHM, _ACTION_KIND),
    *_pairs(_FAMILY, _OBSERVATION_KIND, _ACTION_KIND, _STATISTICS, _EXTRACTOR, _GSDE, _STATES),
    *((_FAMILY, column) for column in (_NET, _EXPLORATION, _LSTM)),
    (_EXTRACTOR, _LSTM),
    (_OBSERVATION,),
    (_ACTION,),
    (_ACTIVATION,),
)
"""Every pair of kinds and options, each value at least once.

Observations meet families instead of algorithms: those of one family come to their features by the same code.
"""

WHOLE: tuple[Demand, ...] = (
    (_ALGORITHM, _OBSERVATION_KIND, _ACTION_KIND),
    *_pairs(_FAMILY, _OBSERVATION, _ACTION_KIND, _STATISTICS, _EXTRACTOR, _NET, _GSDE, _STATES),
    *_pairs(_ALGORITHM, _ACTION, _EXPLORATION),
    *((_ALGORITHM, column) for column in (_STATISTICS, _EXTRACTOR, _NET)),
    *((_LSTM, column) for column in (_OBSERVATION_KIND, _ACTION_KIND, _EXTRACTOR, _EXPLORATION)),
    (_FAMILY, _ACTIVATION),
)
"""Every algorithm with every kind of observation and of action, and every pair of what can be chosen."""


@cache
def pairwise_cells() -> tuple[Cell, ...]:
    """The few cells that CI runs."""
    return _sorted(Covering(FACTORS, allowed).cover(PAIRWISE))


@cache
def all_cells() -> tuple[Cell, ...]:
    """The whole matrix."""
    few = [cell.choice for cell in pairwise_cells()]
    return _sorted([*few, *Covering(FACTORS, allowed).cover(WHOLE, few)])


def _sorted(choices: list[dict[str, str]]) -> tuple[Cell, ...]:
    """In the order of the factors' values: families and algorithms together."""

    def place(choice: dict[str, str]) -> tuple[int, ...]:
        return tuple(FACTORS[factor].index(choice[factor]) for factor in FACTORS)

    return tuple(Cell(**choice) for choice in sorted(choices, key=place))
