"""Constraints as people write them in a deployment.

```yaml
safety:
  constraints:                      # in order: the first that an action violates is the one that is named
    - name: torque                  # Box: limits per element, by name or as action[i]; without names for all
      box: {torque: {low: -1.5, high: 1.5}}
    - name: slew                    # Box: how fast an element may change
      rate:
        max_per_s: 4.0              # or one for each element: {steer: 4.0, throttle: 1.0}
        start: 0.0                  # where the action before is not known, it is taken to have been this one,
        assumed_step_s: 0.05        # so long ago
        longest_s: 1.0              # a longer pause between two steps counts as this
    - name: zone                    # Box: an open region that no action may be in; its faces are allowed
      forbid_zone: {steer: {low: -0.1, high: 0.1}}
    - name: power                   # Box: sums over elements and features
      linear:
        - {terms: {steer: 1.0, throttle: 0.5, speed: 0.1}, at_most: 2.0}
    - name: no_reverse              # choices, by name or number; MultiDiscrete: {gear: [0]}
      when: speed > 5.0             # any constraint may have a condition
      forbid: [reverse]
      then: fallback                # the fallback answers; by default (shield) the nearest permitted action
    - name: dwell                   # a choice is kept for so long, or for min_steps decisions
      dwell: {min_s: 2.0, start: hold}
    - name: few                     # uses within a window; without window_s within the episode
      budget: {actions: [boost], most: 3, window_s: 60, assumed_used: 3}
```
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictInt, StrictStr, model_validator

from steersman.bundle.validation import Settings

EVERY = "*"
"""Stands for every element of a Box."""
MOST_USES = 64
"""Largest budget within a window: the time of each use travels in the token."""

Choice = StrictInt | StrictBool | StrictStr
"""A choice by number, counted as the environment counts it, or by name; true and false are a switch's."""
Choices = tuple[Choice, ...] | dict[str, tuple[Choice, ...]]
"""Choices of a Discrete action, or of dimensions by name."""
Positive = Annotated[float, Field(gt=0)]
PerElement = float | dict[str, float]


class Interval(Settings):
    """From `low` to `high`; what is left out is no limit."""

    low: float | None = None
    high: float | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> Interval:
        if self.low is None and self.high is None:
            raise ValueError("an interval needs low, high or both")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        return self


class RateSettings(Settings):
    """How fast the elements of a Box may change.

    Attributes:
        max_per_s: Largest change per second, for all elements or by element; those not named are free.
        start: What the action before is taken to have been where it is not known.
        assumed_step_s: How long ago that is then taken to have been, seconds.
        longest_s: A longer time between two steps counts as this, seconds.
    """

    max_per_s: Annotated[float, Field(ge=0)] | dict[str, Annotated[float, Field(ge=0)]]
    start: PerElement
    assumed_step_s: Positive
    longest_s: Positive = 1.0


class DwellSettings(Settings):
    """How long a choice is kept. Exactly one of `min_s` and `min_steps`.

    Attributes:
        min_s: Seconds.
        min_steps: Decisions.
        start: Where the choice before is not known, the first is free; `hold`: it is then kept as any other;
            `free`: the one after is free too.
        assumed: A choice (of dimensions: by name) that is taken to have been made just now where the one
            before is not known, so that it is kept first.
        dimensions: Those of a MultiDiscrete or MultiBinary action that are meant; all if left out.
    """

    min_s: Positive | None = None
    min_steps: Annotated[int, Field(ge=1, le=2**31 - 2)] | None = None
    start: Literal["hold", "free"] = "hold"
    assumed: Choice | dict[str, Choice] | None = None
    dimensions: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _one_duration(self) -> DwellSettings:
        if (self.min_s is None) == (self.min_steps is None):
            raise ValueError("exactly one of min_s and min_steps is needed")
        return self


class BudgetSettings(Settings):
    """How often choices may be made.

    Attributes:
        actions: The choices that count; a decision that makes several of them counts once.
        most: Largest number of uses.
        window_s: Within the last so many seconds; None: within the episode.
        assumed_used: Uses that are taken to have been made just now where nothing is known; all of them if
            left out.
    """

    actions: Choices
    most: Annotated[int, Field(ge=1, le=2**31 - 2)]
    window_s: Positive | None = None
    assumed_used: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _fits(self) -> BudgetSettings:
        if self.window_s is not None and self.most > MOST_USES:
            raise ValueError(f"most is {self.most}, at most {MOST_USES} within a window")
        if self.assumed_used is not None and self.assumed_used > self.most:
            raise ValueError(f"assumed_used is {self.assumed_used}, more than most, {self.most}")
        return self

    @property
    def assumed(self) -> int:
        """`assumed_used`, or its default."""
        return self.most if self.assumed_used is None else self.assumed_used


class LinearSettings(Settings):
    """A limit on a sum.

    Attributes:
        terms: Factor of each element (by name or as action[i]) and feature (by name or as obs["name"]).
        at_most: The sum is not above this.
        at_least: The sum is not below this.
    """

    terms: Annotated[dict[str, float], Field(min_length=1)]
    at_most: float | None = None
    at_least: float | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> LinearSettings:
        if self.at_most is None and self.at_least is None:
            raise ValueError("a sum needs at_most, at_least or both")
        if self.at_most is not None and self.at_least is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least {self.at_least:g} is above at_most {self.at_most:g}")
        return self


class ConstraintSettings(Settings):
    """One constraint: a name, exactly one of the seven kinds, and on which rows it applies.

    Attributes:
        name: What metrics, logs and errors call it.
        when: Condition over named features, in the subset of CEL that `steersman.safety.expressions`
            documents. It also applies where a feature that the condition reads is NaN or infinite.
        then: What becomes of a row that violates it: the nearest permitted action (`shield`), or an answer
            of the fallback.
        box: Limits per element.
        rate: Change per second.
        forbid: Choices that are not made.
        forbid_zone: Open region that no action is in: between the limits in every element named.
        dwell: How long choices are kept.
        budget: How often choices are made.
        linear: Sums over elements and features.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$")]
    when: str | None = None
    then: Literal["shield", "fallback"] = "shield"
    box: Annotated[dict[str, Interval], Field(min_length=1)] | None = None
    rate: RateSettings | None = None
    forbid: Choices | None = None
    forbid_zone: Annotated[dict[str, Interval], Field(min_length=1)] | None = None
    dwell: DwellSettings | None = None
    budget: BudgetSettings | None = None
    linear: Annotated[tuple[LinearSettings, ...], Field(min_length=1)] | None = None

    @property
    def kind(self) -> str:
        """Which of the seven it is."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @model_validator(mode="before")
    @classmethod
    def _limits_alone_are_for_all(cls, data: Any) -> Any:
        """`box: {low: -1, high: 1}` is a limit on every element, and one such zone likewise."""
        if not isinstance(data, dict):
            return data
        return {
            key: {EVERY: value} if key in {"box", "forbid_zone"} and _is_interval(value) else value
            for key, value in data.items()
        }

    @model_validator(mode="after")
    def _is_one_kind(self) -> ConstraintSettings:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"a constraint has exactly one of {', '.join(KINDS)}; found {found}")
        return self


KINDS = ("box", "rate", "forbid", "forbid_zone", "dwell", "budget", "linear")


def _is_interval(value: object) -> bool:
    if not isinstance(value, dict) or not value or not set(value) <= {"low", "high"}:
        return False
    return not any(isinstance(limit, dict) for limit in value.values())
