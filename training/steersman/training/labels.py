"""Names for the components of observations and actions, checked against the spaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gymnasium import spaces

from steersman.training.defaults import NAMES
from steersman.training.errors import TrainingUsageError

if TYPE_CHECKING:
    from gymnasium import Space

    from steersman.training.settings import TrainingSettings

    AnySpace = Space[object]


@dataclass(frozen=True, slots=True)
class Labels:
    """What a person reads instead of component 3; None where nobody named them."""

    features: tuple[str, ...] | None
    actions: tuple[str, ...] | None


def labels_for(settings: TrainingSettings, observation: AnySpace, action: AnySpace) -> Labels:
    """The names asked for, else those known for this environment where they fit.

    Raises:
        TrainingUsageError: the names asked for do not fit the space.
    """
    known = NAMES.get(settings.env_id)
    return Labels(
        features=_checked("--feature-names", settings.feature_names, observation)
        or (known.features if known and len(known.features) == component_count(observation) else None),
        actions=_checked("--action-names", settings.action_names, action)
        or (known.actions if known and len(known.actions) == component_count(action) else None),
    )


def component_count(space: AnySpace) -> int | None:
    """How many names a space takes: a Discrete's choices, a flat array's entries; None for others."""
    match space:
        case spaces.Discrete():
            return int(space.n)
        case spaces.Box() | spaces.MultiDiscrete() | spaces.MultiBinary() if len(space.shape or ()) == 1:
            return int(space.shape[0])
        case _:
            return None


def _checked(option: str, names: tuple[str, ...] | None, space: AnySpace) -> tuple[str, ...] | None:
    if names is None:
        return None
    count = component_count(space)
    if count is None:
        raise TrainingUsageError(f"cannot name the components of {space}", where=option, hint="Leave it out.")
    if len(names) != count:
        raise TrainingUsageError(f"got {len(names)} names for {space}", where=option, expected=str(count))
    if len(set(names)) != count:
        raise TrainingUsageError("a name comes twice", where=option, expected="distinct names")
    return names
