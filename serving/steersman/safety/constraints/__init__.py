"""Constraints: what no action may do, whoever proposes it.

Named and ordered, of seven kinds; `settings` documents them with an example. For actions of a Box: `box`,
`rate`, `forbid_zone`, `linear`; for choices: `forbid`, `dwell`, `budget`. Each may have a condition over
named features.

- `compiled`: from settings to `Constraints`, once per deployment and policy.
- `bound`: `Constraints.bind` on the rows of a batch: what is violated, by how much, and what to do instead.
- `shield`, `nearest`: the nearest permitted action.
- `boxes`, `linear`, `choices`, `dwell`: the kinds; `program` puts them together.

An action at a limit keeps it. What is compared is the action as the environment gets it, in its own type,
with limits in float64: no tolerance.
"""

from steersman.safety.constraints.bound import Bound
from steersman.safety.constraints.compiled import Constraints
from steersman.safety.constraints.settings import ConstraintSettings

__all__ = ["Bound", "ConstraintSettings", "Constraints"]
