"""The safety section of a deployment, as people write it in YAML. `docs/safety.md` explains every part.

```yaml
safety:
  # Before the model. Each row is checked in this order; the first check that fails decides.
  # `fallback`: the chain below answers the row. `reject`: the row fails with an error.
  guard:
    non_finite: fallback          # NaN and infinities; always checked
    bounds: off                   # bounds that the observation space declares: off, fallback or reject
    ranges:                       # limits of your own, by feature name; low, high or both, themselves allowed
      cart_position: {low: -2.0, high: 2.0}
      pole_angle: {high: 0.4}
    ranges_action: fallback
    training_range:               # leave out for no such check
      margin: 0.25                # share of the range seen in training that is added on both sides
      action: fallback
    stuck:                        # sensors that never repeat themselves while they work; needs episode tokens
      features: [pole_angular_velocity]
      steps: 20                   # so many steps in a row may have exactly the same value
      action: fallback
    stale:                        # by the time of observation that the caller sends
      max_age_s: 0.5              # in the past, or the future
      missing: pass               # where it sends none: pass, fallback or reject
      action: fallback
    distance:                     # of all features together from training, by the bundle's reference
      quantile: 0.99              # while all is as in training, at most 1 % of the ...
      of: steps                   # ... steps are refused; or of the episodes have a step that is
      action: fallback
    confidence:                   # after the model; what falls short falls back
      top_probability: 0.6        # of the likeliest choice; or max_entropy (nats), or q_margin

  # After a fallback the episode stays with it for so many healthy steps in a row, and so long.
  latch: {healthy: 10, min_s: 1.0}

  latch: {healthy: 10, min_s: 1.0}   # an episode stays with the fallback until all has been well for so long
  breaker: {errors: 0.05, open_s: 10}   # takes a version out of service; see breaker_settings
  lease: {within_s: 60}                 # without a heartbeat for so long the policy no longer answers

  # What no action may do, whoever proposes it; the kinds are in steersman.safety.constraints.settings.
  constraints:
    - {name: edge, when: cart_position > 2.0, forbid: [right]}

  # Instead of the model. Members are asked in order; a row takes the first action that mask and constraints
  # permit. A row to which none is permitted fails with `no_feasible_action`; or gets a `safe_action`, if one
  # is declared, which alone is exempt from both.
  fallback:
    - name: lean                  # what metrics and logs call it; the kind if left out
      rules:
        - when: pole_angle + 0.5 * pole_angular_velocity > 0.0
          then: 1                 # an action as the environment takes it, or the name of a choice
        - when: obs["pole_angle"] <= 0.0 && abs(cart_position) < 2.0
          then: 0
    - constant: 1                 # always the same
    - preference: [0, 1]          # the first that the mask permits; a good end of any chain
```

Rules may have a default, for rows on which no condition is true:

```yaml
    - rules:
        rules: [{when: "pole_angle > 0.0", then: 1}]
        default: 0
```

Rules do not answer a row on which a feature that they read is NaN or infinite; the chain goes on.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from steersman.bundle.validation import Settings
from steersman.safety.actions import ActionValue
from steersman.safety.breaker_settings import BreakerSettings
from steersman.safety.bumpless import ReturnSettings
from steersman.safety.commands import LeaseSettings
from steersman.safety.constraints import ConstraintSettings
from steersman.safety.fallback import FallbackSettings
from steersman.safety.guard import GuardSettings
from steersman.safety.latch import LatchSettings

MOST_CONSTRAINTS = 127


class SafetySettings(Settings):
    """Decision safety of one deployment. The defaults check for NaN and infinities, and answer nothing.

    Attributes:
        guard: What is checked before the model, and how sure the policy must be.
        latch: How long an episode stays with its fallback.
        return_: How actions go over to the policy's again; `return` in YAML.
        constraints: What no action may do, in order.
        breaker: When a version is taken out of service, and how it comes back.
        lease: Ends autonomous operation when nobody has been heard of for too long.
        fallback: Who answers instead of the model, in order.
        safe_action: Answers rows to which nothing else is permitted, exempt from mask and constraints.
        unanswered: `fail` says that rows may fail for which the chain has no permitted answer.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    guard: GuardSettings = Field(default_factory=GuardSettings)
    latch: LatchSettings | None = None
    return_: ReturnSettings | None = Field(default=None, alias="return")
    constraints: Annotated[tuple[ConstraintSettings, ...], Field(max_length=MOST_CONSTRAINTS)] = ()
    breaker: BreakerSettings | None = None
    lease: LeaseSettings | None = None
    fallback: FallbackSettings = Field(default_factory=FallbackSettings)
    safe_action: ActionValue = None
    unanswered: Literal["fail"] | None = None
