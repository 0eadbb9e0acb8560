"""When a breaker takes a policy version out of service, and how it comes back, as people configure it."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from steersman.bundle.validation import Settings

Limit = Annotated[float, Field(ge=0, lt=1)]
"""A share that is exceeded only above it; 0 stands for not one."""


class LateSettings(Settings):
    """How late is too late, and how often.

    Attributes:
        after_ms: A decision that takes longer is late: from when its rows are taken up to when they have
            their actions, without the time that they waited for others.
        rate: Share of late decisions above which the breaker opens.
    """

    after_ms: Annotated[float, Field(gt=0)]
    rate: Limit


class BreakerSettings(Settings):
    """When the breaker opens, and how it closes again. At least one of the three limits is stated.

    Attributes:
        errors: Share of decisions that the model failed, above which it opens; None for no such limit.
        late: Likewise for decisions that took too long.
        guarded: Likewise for rows that the guard kept from the model.
        window: The limits are on the last so many decisions.
        least: Before so many nothing is concluded.
        open_s: Seconds that it stays open.
        ramp: Shares of the rows that are then let through, stage by stage, growing.
        healthy: Healthy decisions that each stage needs.
        min_s: Seconds from the first stage to closed, at least; divided equally among the stages.
    """

    errors: Limit | None = None
    late: LateSettings | None = None
    guarded: Limit | None = None
    window: Annotated[int, Field(ge=1, le=1_000_000)] = 200
    least: Annotated[int, Field(ge=1)] = 50
    open_s: Annotated[float, Field(ge=0)] = 10.0
    ramp: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1, max_length=20)] = (
        0.05,
        0.25,
        0.5,
    )
    healthy: Annotated[int, Field(ge=1)] = 100
    min_s: Annotated[float, Field(ge=0)] = 30.0

    @field_validator("ramp")
    @classmethod
    def _grows(cls, ramp: tuple[float, ...]) -> tuple[float, ...]:
        for before, after in pairwise(ramp):
            if after <= before:
                raise ValueError(f"a ramp grows; {after:g} does not after {before:g}")
        return ramp

    @model_validator(mode="after")
    def _can_open(self) -> BreakerSettings:
        if self.errors is None and self.late is None and self.guarded is None:
            raise ValueError("a breaker needs a limit: errors, late, guarded or several of them")
        if self.least > self.window:
            raise ValueError(f"least {self.least} is above window {self.window}: it would never open")
        return self
