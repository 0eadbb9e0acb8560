"""A policy as one describes it before there is a bundle: names of features, and the action space.

```yaml
observation: [cart_position, cart_velocity, pole_angle, pole_angular_velocity]
# or with bounds: {cart_position: {low: -4.8, high: 4.8}, cart_velocity: {}}
action: {kind: discrete, n: 2, names: [left, right]}
# or {kind: box, names: [steer, throttle], low: [-1, 0], high: [1, 1]}, multi_discrete with nvec, multi_binary
```
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from steersman.bundle.specs import ActionSpec, Contract, ObservationSpec
from steersman.bundle.validation import Settings
from steersman.safety.errors import SafetyError

_ACTION: TypeAdapter[ActionSpec] = TypeAdapter(ActionSpec)


class FeatureSketch(Settings):
    """A feature's bounds; None where there is none."""

    low: float | None = None
    high: float | None = None


class PolicySketch(Settings):
    """A policy without a model.

    Attributes:
        observation: Names of features, with bounds or without.
        action: The action space, as a bundle's manifest describes it; a Box's shape may be left out.
    """

    observation: (
        Annotated[tuple[str, ...], Field(min_length=1)]
        | Annotated[dict[str, FeatureSketch], Field(min_length=1)]
    )
    action: dict[str, Any]

    def contract(self, where: str) -> Contract:
        """The contract of such a policy.

        Raises:
            SafetyError: There is no such action space.
        """
        given = self.observation
        bounds = given if isinstance(given, Mapping) else dict.fromkeys(given, FeatureSketch())
        spec = ObservationSpec(
            dtype="float32",
            shape=(len(bounds),),
            low=tuple(-float("inf") if each.low is None else each.low for each in bounds.values()),
            high=tuple(float("inf") if each.high is None else each.high for each in bounds.values()),
            feature_names=tuple(bounds),
        )
        return Contract(
            observations=(spec,),
            action=self._action(where),
            distribution="deterministic",
            outputs=("action",),
        )

    def _action(self, where: str) -> ActionSpec:
        data = dict(self.action)
        if data.get("kind") == "box":
            data.setdefault("shape", [len(data.get("low", ()))])
        try:
            return _ACTION.validate_python(data)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(map(str, first["loc"]))
            raise SafetyError(
                f"action {field}: {first['msg'][0].lower()}{first['msg'][1:]}",
                where=where,
                expected="an action space such as {kind: discrete, n: 2, names: [left, right]}",
            ) from None
