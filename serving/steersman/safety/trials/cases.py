"""Cases: observations by feature name, and what is expected to come of them.

```yaml
defaults: {cart_velocity: 0.0, pole_angular_velocity: 0.0}   # features that a case does not name
cases:
  - name: leans right
    observation: {cart_position: 0.0, pole_angle: 0.2}
    mask: [true, true]               # left out: everything is allowed
    policy: 0                        # what the policy would do; left out: it does not answer
    expect: {action: right, source: fallback, member: lean, rule: rule_0}
```

What `expect` does not name is not compared. `source` is `policy`, `shield`, `fallback`, `safe_action`, or
`none` where nobody may answer; `reason` is the reason string of the decision, empty for none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, model_validator

from steersman.bundle.features import feature_matrix
from steersman.bundle.specs import BoxAction, Contract, feature_names
from steersman.bundle.validation import Settings
from steersman.safety.actions import ActionValue
from steersman.safety.columns import Array, Features, Observations, feature_index
from steersman.safety.errors import SafetyError
from steersman.safety.masks import Mask

MOST_CASES = 100_000
SourceName = Literal["policy", "shield", "fallback", "safe_action", "none"]


class Expectation(Settings):
    """What is expected of a case; what is None is not compared.

    Attributes:
        action: The action.
        source: Who makes it.
        member: The member of the fallback chain that answers.
        rule: The rule that decides, `default` for the default.
        reason: Why the policy does not, or does not alone.
        constraint: The first constraint that the policy's action violates; empty for none.
    """

    action: ActionValue = None
    source: SourceName | None = None
    member: str | None = None
    rule: str | None = None
    reason: str | None = None
    constraint: str | None = None

    @model_validator(mode="after")
    def _expects_something(self) -> Expectation:
        if all(getattr(self, name) is None for name in type(self).model_fields):
            raise ValueError(
                "nothing is expected; name an action, source, member, rule, reason or constraint"
            )
        return self


class CaseSettings(Settings):
    """One case.

    Attributes:
        name: What reports call it; `case <position>` if left out.
        observation: Features by name.
        mask: One entry per column of the mask, true where the choice is allowed.
        policy: The action that the policy would take.
        expect: What is expected.
    """

    model_config = ConfigDict(allow_inf_nan=True)

    name: str | None = None
    observation: dict[str, float] = Field(default_factory=dict)
    mask: tuple[bool, ...] | None = None
    policy: ActionValue = None
    expect: Expectation


class CasesSettings(Settings):
    """A table of cases; a list alone stands for `cases` without defaults.

    Attributes:
        defaults: Values of features that a case does not name.
        cases: The cases.
    """

    model_config = ConfigDict(allow_inf_nan=True)

    defaults: dict[str, float] = Field(default_factory=dict)
    cases: Annotated[tuple[CaseSettings, ...], Field(min_length=1, max_length=MOST_CASES)]

    @model_validator(mode="before")
    @classmethod
    def _list_is_cases(cls, data: Any) -> Any:
        return {"cases": data} if isinstance(data, (list, tuple)) else data

    def names(self) -> tuple[str, ...]:
        """What each case is called."""
        return tuple(case.name or f"case {i + 1}" for i, case in enumerate(self.cases))


def read_features(cases: CasesSettings, contract: Contract) -> tuple[Features, Observations]:
    """The cases' observations as the server would see them, in the contract's dtypes.

    Returns:
        Features [N, F], and [N, *shape] under each input name.

    Raises:
        SafetyError: A feature is unknown or missing, or its value does not fit its type.
    """
    names = feature_names(contract)
    for name in cases.defaults:
        feature_index(name, names, f"defaults.{name}")
    table = np.array(
        [_row(case, cases.defaults, names, f"cases[{i}]") for i, case in enumerate(cases.cases)], np.float64
    )
    observations = split_features(table, contract)
    return feature_matrix(observations, contract), observations


def _row(case: CaseSettings, defaults: Mapping[str, float], names: Sequence[str], where: str) -> list[float]:
    for name in case.observation:
        feature_index(name, names, f"{where}.observation.{name}")
    values = {**defaults, **case.observation}
    missing = [name for name in names if name not in values]
    if missing:
        raise SafetyError(
            f"no value of {', '.join(missing[:6])}{' and more' if len(missing) > 6 else ''}",
            where=f"{where}.observation",
            hint="Give every feature a value, in the case or under `defaults`.",
        )
    return [values[name] for name in names]


def split_features(table: Features, contract: Contract) -> dict[str, Array]:
    """Features [N, F] as observation tensors in their dtypes: [N, *shape] under each input name.

    Raises:
        SafetyError: A value does not fit its type.
    """
    found: dict[str, Array] = {}
    first = 0
    names = feature_names(contract)
    for spec in contract.observations:
        part = table[:, first : first + spec.size]
        with np.errstate(invalid="ignore", over="ignore"):
            tensor = part.astype(spec.dtype)
        if np.dtype(spec.dtype).kind != "f" and (tensor != part).any():
            row, column = np.argwhere(tensor != part)[0]
            raise SafetyError(
                f"{part[row, column]:g} is no {spec.dtype}", where=f"case {row + 1}, {names[first + column]}"
            )
        found[spec.input_name] = tensor.reshape(len(table), *spec.shape)
        first += spec.size
    return found


def read_masks(cases: CasesSettings, contract: Contract) -> Mask | None:
    """The cases' masks, all true where a case has none: [N, W]; None where no case has one.

    Raises:
        SafetyError: A mask is not as wide as the action space's, or there are no masks for it.
    """
    if all(case.mask is None for case in cases.cases):
        return None
    width = contract.mask_width
    mask = np.ones((len(cases.cases), width), np.bool_)
    for i, case in enumerate(cases.cases):
        if case.mask is None:
            continue
        if isinstance(contract.action, BoxAction) or len(case.mask) != width:
            expected = f"{width} entries" if width else "none: continuous actions have no mask"
            raise SafetyError(
                f"the mask has {len(case.mask)} entries", where=f"cases[{i}].mask", expected=expected
            )
        mask[i] = case.mask
    return mask
