"""Covering arrays: few cells in which every wanted combination of values occurs.

Greedy, one cell at a time (Cohen et al., "The AETG System", IEEE TSE 23(7), 1997): of some random allowed
cells with the first combination that is still missing, the one with most missing combinations is taken.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

Choice = dict[str, str]
Allowed = Callable[[Choice], bool]
Target = tuple[tuple[str, str], ...]
"""Values by column, in the order of the demand: something that must occur in a cell."""

CANDIDATES = 40
"""Cells tried for each that is taken; more hardly makes the array smaller."""


@dataclass(frozen=True, slots=True)
class Column:
    """A factor as coverage looks at it: its own values, or coarser groups of them.

    Attributes:
        name: Name, another for every column.
        factor: The factor.
        group: From a value of the factor to the column's.
    """

    name: str
    factor: str
    group: Callable[[str], str] = str


Demand = tuple[Column, ...]
"""Columns of which every possible combination of values must occur."""


class Covering:
    """Cells that cover demands.

    Args:
        factors: Values by factor.
        allowed: Whether a choice of values for some factors is allowed as far as it goes.
        seed: The same seed gives the same cells.
    """

    def __init__(self, factors: Mapping[str, Sequence[str]], allowed: Allowed, seed: int = 0) -> None:
        self._factors, self._allowed = factors, allowed
        self._random = random.Random(seed)  # noqa: S311  nothing secret

    def cover(self, demands: Iterable[Demand], given: Iterable[Choice] = ()) -> list[Choice]:
        """Cells that cover all that is possible of the demands together with those given."""
        demands = tuple(demands)
        missing = dict.fromkeys(self.targets(demands))
        for choice in given:
            _strike(missing, occurring(choice, demands))
        cells = []
        while missing:
            best = self._best(next(iter(missing)), demands, missing)
            _strike(missing, occurring(best, demands))
            cells.append(best)
        return cells

    def targets(self, demands: Iterable[Demand]) -> list[Target]:
        """Every combination that some allowed cell has."""
        return [target for demand in demands for target in self._possible(demand)]

    def _possible(self, demand: Demand) -> Iterable[Target]:
        groups = [
            sorted({column.group(value) for value in self._factors[column.factor]}) for column in demand
        ]
        for values in itertools.product(*groups):
            target = tuple((column.name, value) for column, value in zip(demand, values, strict=True))
            if self._complete({}, self._domains(demand, target)) is not None:
                yield target

    def _best(self, target: Target, demands: Sequence[Demand], missing: Mapping[Target, None]) -> Choice:
        demand = next(
            demand
            for demand in demands
            if tuple(column.name for column in demand) == tuple(n for n, _ in target)
        )
        domains = self._domains(demand, target)
        candidates = [self._complete({}, domains) for _ in range(CANDIDATES)]
        return max(
            (choice for choice in candidates if choice is not None),
            key=lambda choice: sum(found in missing for found in occurring(choice, demands)),
        )

    def _domains(self, demand: Demand, target: Target) -> dict[str, list[str]]:
        """Values by factor that agree with the target, those that it names first."""
        domains = {column.factor: list(self._factors[column.factor]) for column in demand}
        for column, (_, wanted) in zip(demand, target, strict=True):
            domains[column.factor] = [v for v in domains[column.factor] if column.group(v) == wanted]
        return domains | {f: list(values) for f, values in self._factors.items() if f not in domains}

    def _complete(self, chosen: Choice, domains: Mapping[str, Sequence[str]]) -> Choice | None:
        """A random allowed value for every factor, by trying and going back."""
        if len(chosen) == len(domains):
            return {factor: chosen[factor] for factor in self._factors}
        factor = next(factor for factor in domains if factor not in chosen)
        for value in self._random.sample(domains[factor], len(domains[factor])):
            longer = {**chosen, factor: value}
            if self._allowed(longer) and (found := self._complete(longer, domains)) is not None:
                return found
        return None


def occurring(choice: Choice, demands: Iterable[Demand]) -> list[Target]:
    """The combinations that a cell has."""
    return [
        tuple((column.name, column.group(choice[column.factor])) for column in demand) for demand in demands
    ]


def _strike(missing: dict[Target, None], found: Iterable[Target]) -> None:
    for target in found:
        missing.pop(target, None)
