"""What the guard can check, as people configure it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from steersman.bundle.validation import Settings

GuardAction = Literal["fallback", "reject"]
"""What becomes of a row that fails: the fallback chain answers, or the row fails with an error."""


class GuardReason(StrEnum):
    """Why a row does not reach the policy; the strings are those of the decision vocabulary."""

    NONE = ""
    """It does."""
    OBSERVATION_NON_FINITE = "observation_non_finite"
    """It holds NaN or an infinity."""
    OBSERVATION_OUT_OF_BOUNDS = "observation_out_of_bounds"
    """It is outside the bounds that the policy or the deployment declares."""
    OBSERVATION_OUT_OF_TRAINING_RANGE = "observation_out_of_training_range"
    """It is further from what the policy was trained on than the deployment allows."""


GUARD_REASONS: tuple[GuardReason, ...] = tuple(GuardReason)
"""A verdict's code is the position here; 0 is passed."""


class FeatureRange(Settings):
    """Lowest and highest value that a feature may have, both allowed themselves."""

    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> FeatureRange:
        if self.low is None and self.high is None:
            raise ValueError("a range needs low, high or both")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        return self


class TrainingRange(Settings):
    """How far outside the reference's first and last quantile edge a feature may be.

    Attributes:
        margin: Share of the distance between those two edges, added on both sides. A feature that was
            constant in training may then have that one value only.
        action: What becomes of a row outside.
    """

    margin: Annotated[float, Field(ge=0)]
    action: GuardAction = "fallback"


class GuardSettings(Settings):
    """What the guard checks and what becomes of rows that fail.

    Attributes:
        non_finite: NaN and infinities; always checked.
        bounds: The observation space's declared bounds.
        ranges: Limits that the deployment sets, by feature name.
        ranges_action: What becomes of a row outside of one of them.
        training_range: Limits from the bundle's reference; None for no such check.
    """

    non_finite: GuardAction = "fallback"
    bounds: Literal["off", "fallback", "reject"] = "off"
    ranges: dict[str, FeatureRange] = Field(default_factory=dict)
    ranges_action: GuardAction = "fallback"
    training_range: TrainingRange | None = None

    @field_validator("bounds", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: Any) -> Any:
        return "off" if value is False else value  # YAML reads a bare `off` as false
