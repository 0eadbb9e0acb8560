"""What the guard can check, as people configure it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from steersman.bundle.features import MAX_NAMED_FEATURES
from steersman.bundle.joint import LimitUnit
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
    OBSERVATION_STUCK = "observation_stuck"
    """A feature has had the same value for longer than the deployment allows."""
    OBSERVATION_STALE = "observation_stale"
    """It is older than the deployment allows, or does not say how old it is."""
    OBSERVATION_FAR_FROM_TRAINING = "observation_far_from_training"
    """Its features together are further from what was seen in training than the deployment allows."""


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


class StuckSensor(Settings):
    """Sensors that must not repeat themselves. Needs the episode token; without one nothing is known stuck.

    Attributes:
        features: By name; those that are never the same twice while they work.
        steps: How many steps in a row of one episode each may have exactly the same value.
        action: What becomes of a row on which one has had it for longer.
    """

    features: Annotated[tuple[str, ...], Field(min_length=1, max_length=MAX_NAMED_FEATURES)]
    steps: Annotated[int, Field(ge=1, le=1_000_000)]
    action: GuardAction = "fallback"

    @model_validator(mode="after")
    def _named_once(self) -> StuckSensor:
        if twice := [name for name in self.features if self.features.count(name) > 1]:
            raise ValueError(f"{twice[0]!r} is named twice")
        return self


class StaleObservation(Settings):
    """How old an observation may be, by the time that its caller says it was made.

    Attributes:
        max_age_s: Oldest allowed, seconds. One made so far in the future is refused as well, for then the
            clocks disagree and its age is not known.
        missing: What becomes of a row that does not say.
        action: What becomes of a row that is too old.
    """

    max_age_s: Annotated[float, Field(gt=0)]
    missing: Literal["pass", "fallback", "reject"] = "fallback"
    action: GuardAction = "fallback"


class TrainingDistance(Settings):
    """How far from the reference's centre the features may be together (Mahalanobis).

    Attributes:
        quantile: Of the reference's distances; `monitoring.joint` says how the limit is calibrated.
        of: What the quantile counts while the policy runs as in training: 0.999 of `steps` says that at most
            one step in a thousand is refused; 0.99 of `episodes`, that at most one episode in a hundred has
            any step refused.
        action: What becomes of a row beyond.
    """

    quantile: Annotated[float, Field(gt=0, lt=1)]
    of: LimitUnit = "steps"
    action: GuardAction = "fallback"


class ConfidenceFloors(Settings):
    """How sure of its action the policy has to be; rows on which it is less sure fall back.

    Attributes:
        top_probability: Of the likeliest choice, given the mask; of every dimension where there are several.
        max_entropy: Largest entropy of the whole action, in nats; over several dimensions, their sum. For
            continuous actions it is differential, and may be negative.
        q_margin: By how much the highest Q-value has to exceed the second highest one that the mask allows.
    """

    top_probability: Annotated[float, Field(gt=0, le=1)] | None = None
    max_entropy: float | None = None
    q_margin: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _asks_for_something(self) -> ConfidenceFloors:
        if self.top_probability is None and self.max_entropy is None and self.q_margin is None:
            raise ValueError("confidence needs top_probability, max_entropy or q_margin")
        return self


class GuardSettings(Settings):
    """What the guard checks and what becomes of rows that fail.

    Attributes:
        non_finite: NaN and infinities; always checked.
        bounds: The observation space's declared bounds.
        ranges: Limits that the deployment sets, by feature name.
        ranges_action: What becomes of a row outside of one of them.
        training_range: Limits from the bundle's reference; None for no such check.
        stuck: Sensors that must not repeat themselves; None for no such check.
        stale: How old an observation may be; None for no such check.
        distance: How far from training the features may be together; None for no such check.
        confidence: How sure the policy has to be; checked after it has answered. None for no such check.
    """

    non_finite: GuardAction = "fallback"
    bounds: Literal["off", "fallback", "reject"] = "off"
    ranges: dict[str, FeatureRange] = Field(default_factory=dict)
    ranges_action: GuardAction = "fallback"
    training_range: TrainingRange | None = None
    stuck: StuckSensor | None = None
    stale: StaleObservation | None = None
    distance: TrainingDistance | None = None
    confidence: ConfidenceFloors | None = None

    @field_validator("bounds", mode="before")
    @classmethod
    def _off_is_a_word(cls, value: Any) -> Any:
        return "off" if value is False else value  # YAML reads a bare `off` as false
