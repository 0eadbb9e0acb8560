"""All that a run of the benchmarks found, and its form as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.engine_figures import EngineFigures
from benchmarks.points import Point
from benchmarks.safety_figures import SafetyFigures
from benchmarks.servers import ECHO
from benchmarks.startup import Start
from benchmarks.summary import Row, summarize


@dataclass(slots=True)
class Results:
    """Measurements; parts that were not run are empty.

    Attributes:
        machine: What they were made on.
        points: Servers under load.
        engine: The decision core in this process.
        safety: Its safety path.
        starts: Starts of a server.
    """

    machine: Mapping[str, str]
    points: list[Point] = field(default_factory=list)
    engine: list[EngineFigures] = field(default_factory=list)
    safety: list[SafetyFigures] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)

    @property
    def rows(self) -> Sequence[Row]:
        """Medians and ratios of the points."""
        return summarize(self.points, baseline=ECHO)

    def to_json(self) -> str:
        """Everything, with each round's own figures."""
        document: dict[str, Any] = {
            "machine": dict(self.machine),
            "summary": [asdict(row) for row in self.rows],
            "points": [asdict(point) for point in self.points],
            "engine": [asdict(figures) for figures in self.engine],
            "safety": [asdict(figures) for figures in self.safety],
            "starts": [asdict(start) for start in self.starts],
        }
        return json.dumps(document, indent=1)
