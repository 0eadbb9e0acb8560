"""`Engine.decide` in this process: beside bare ONNX Runtime on the same model, and part by part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.engine_kit import call_of
from benchmarks.engine_parts import BARE, GUARD, MASK, RECORD, parts
from benchmarks.errors import BenchmarkError
from benchmarks.policies import DEMO, REFERENCE, WIDE, PolicyShape
from benchmarks.timing import median_ratio, time_in_turn
from steersman.serving.deciding.engine import Engine
from steersman.serving.decision import SOURCE_CODE, Decisions, Source

DECIDE, ONE_CALL = "decide", "decide, one call"
BATCHES = (1, 64)
SHAPES = (DEMO, REFERENCE, WIDE)


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """CPU microseconds of one policy at one batch size.

    Attributes:
        policy: Name of the policy.
        rows: Rows that were decided together: calls of one row each, or one call (`ONE_CALL`).
        times_us: Microseconds for all rows together in the least disturbed round, by what was timed.
        throughput_ratio: Rows per second of `decide` over those of bare ONNX Runtime, calls of one row.
        batch_ratio: The same, one call.
        rounds_us: Every round's microseconds, by what was timed.
    """

    policy: str
    rows: int
    times_us: Mapping[str, float]
    throughput_ratio: float
    batch_ratio: float
    rounds_us: Mapping[str, Sequence[float]]

    @property
    def safety_us_per_row(self) -> float:
        """Guard and mask."""
        return (self.times_us[GUARD] + self.times_us[MASK]) / self.rows

    @property
    def record_us_per_row(self) -> float:
        """Counters and bins."""
        return self.times_us[RECORD] / self.rows


def measure_engine(
    engine: Engine, shape: PolicyShape, rows: int, *, rounds: int, seconds: float
) -> EngineFigures:
    """Times `decide`, its parts, and the bare model on the same rows.

    Raises:
        BenchmarkError: The engine does not answer as the policy.
    """
    calls, one_call = [call_of(shape)] * rows, [call_of(shape, rows)]
    _check([*engine.decide(calls), *engine.decide(one_call)])
    actions = {
        DECIDE: lambda: engine.decide(calls),
        ONE_CALL: lambda: engine.decide(one_call),
        **parts(engine, shape, calls),
    }
    times = time_in_turn(actions, rounds=rounds, seconds=seconds)
    return EngineFigures(
        policy=shape.name,
        rows=rows,
        times_us={name: min(each) for name, each in times.items()},
        throughput_ratio=median_ratio(times[BARE], times[DECIDE]),
        batch_ratio=median_ratio(times[BARE], times[ONE_CALL]),
        rounds_us=times,
    )


def _check(outcomes: Sequence[object]) -> None:
    policy = SOURCE_CODE[Source.POLICY]
    if not all(isinstance(o, Decisions) and (o.sources == policy).all() for o in outcomes):
        raise BenchmarkError("the engine does not answer as the policy", where="engine")
