"""The deployment of a policy, as people write it: which versions run in which lanes, and how it is kept safe.

```yaml
policy: cartpole

lanes:                             # or `arms`, below
  stable: {version: 3}             # a number, latest, or a label such as champion
  canary: {version: 4, share: 0.05}          # share of the episodes
  control: {share: 0.05}                     # as many episodes of the stable version, to compare with
  shadow: {version: 5, share: 0.2, cpu: 0.1} # decides beside a fifth of the decisions, is never answered

arms:                              # an A/B test: shares add up to 1
  a: {version: 3, share: 0.5}
  b: {version: 4, share: 0.5}

serve: {latest: 2}                 # what else is loaded: {latest: n}, {specific: [..]} or all
labels: {champion: 3}              # names for versions; they only move to versions that are loaded

precision: auto                    # auto | fp32 | int8
batching:                          # where and how the model is run; measured on the host if left out
  run: auto                        # auto | inline | thread
  max_delay_ms: 2.0                # longest wait for company, on a thread
  preferred_rows: [8, 32]          # sizes at which a batch is worth starting at once
overload: fallback                 # fallback | reject
safety:                            # see steersman.safety.settings
  fallback:
    - constant: 0
```
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, StringConstraints, model_validator

from steersman.bundle.errors import UsageError
from steersman.bundle.manifest import PolicyName
from steersman.bundle.validation import Settings, validated
from steersman.safety.settings import SafetySettings
from steersman.serving.rollout.yaml_lines import Lines
from steersman.serving.rollout.yaml_text import UNREADABLE, read_yaml, yaml_mistake

STABLE = "stable"
CONTROL = "control"
CANARY = "canary"
SHADOW = "shadow"
PINNED = "pinned"
"""Lane of a version that is loaded only to be asked for by its number."""
RESERVED = frozenset({STABLE, CONTROL, CANARY, SHADOW, PINNED, "latest"})
MOST_ARMS = 16
MOST_LABELS = 256
MOST_SPECIFIC = 64

Precision = Literal["auto", "fp32", "int8"]
Label = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
"""Name of an arm or a label: lower-case letters, digits, `-` and `_`, beginning with a letter."""
VersionNumber = Annotated[int, Field(ge=1)]
VersionChoice = Literal["latest"] | VersionNumber | Label
"""A version, the newest one, or a label."""
Share = Annotated[float, Field(ge=0, le=1)]


class LaneSettings(Settings):
    """The version that answers unless another lane does."""

    version: VersionChoice = "latest"


class CanarySettings(Settings):
    """A version that answers a share of the episodes."""

    version: VersionChoice
    share: Share


class ControlSettings(Settings):
    """A share of the stable version's episodes that is counted by itself, to compare the canary with."""

    share: Share


class ShadowSettings(Settings):
    """A version that decides beside the others and is never answered.

    Attributes:
        version: The version.
        share: Share of the decisions that it sees.
        cpu: Share of one core that it may use; what goes beyond that is not decided, and counted.
        tolerance: Continuous actions agree when no element differs by more than this share of its range.
    """

    version: VersionChoice
    share: Share = 1.0
    cpu: Annotated[float, Field(gt=0, le=1)] = 0.1
    tolerance: Annotated[float, Field(ge=0, le=1)] = 0.05


class Lanes(Settings):
    """The lanes of a policy."""

    stable: LaneSettings = LaneSettings()
    control: ControlSettings | None = None
    canary: CanarySettings | None = None
    shadow: ShadowSettings | None = None

    @model_validator(mode="after")
    def _shares_fit(self) -> Lanes:
        shares = [lane.share for lane in (self.control, self.canary) if lane is not None]
        if sum(shares) > 1:
            said = " and ".join(f"{share:g}" for share in shares)
            msg = f"the shares of control and canary, {said}, are more than 1 together; expected at most 1"
            raise ValueError(msg)
        return self


class ArmSettings(Settings):
    """One arm of an A/B test."""

    version: VersionChoice
    share: Share


class ServedVersions(Settings):
    """What is loaded beside the lanes, to be asked for by its number. One of the two.

    Attributes:
        latest: The newest so many.
        specific: These.
    """

    latest: Annotated[int, Field(ge=0, le=64)] | None = None
    specific: Annotated[tuple[VersionNumber, ...], Field(max_length=MOST_SPECIFIC)] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> ServedVersions:
        if (self.latest is None) == (self.specific is None):
            msg = "expected one of latest and specific"
            raise ValueError(msg)
        return self


class BatchingSettings(Settings):
    """Where and how the model is run.

    Attributes:
        run: `inline` on the thread that takes calls, `thread` on one of its own with dynamic batching, `auto`
            whichever is right for what the model takes on this host.
        max_delay_ms: Longest wait for company on a thread, milliseconds.
        preferred_rows: Sizes at which a batch is worth starting at once; the largest is the most.
    """

    run: Literal["auto", "inline", "thread"] = "auto"
    max_delay_ms: Annotated[float, Field(ge=0, le=1000)] = 2.0
    preferred_rows: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = (8, 32)


class Deployment(Settings):
    """One policy's deployment. A policy without one runs its newest version, guarded, without a fallback.

    Attributes:
        policy: Name of the policy.
        lanes: Which version runs in which lane. With `arms` only the shadow lane and the stable one, which
            answers calls that name no episode.
        arms: An A/B test: the arms by name.
        serve: What else is loaded.
        labels: Versions by label.
        precision: Variant to run; `auto` takes the one that is fastest on the serving host.
        batching: Where and how the model is run.
        overload: What happens to rows for which there is no room: `fallback` answers them from the chain,
            `reject` fails their calls with RESOURCE_EXHAUSTED and a hint when to try again.
        safety: Guard and fallback.
    """

    policy: PolicyName
    lanes: Lanes = Lanes()
    arms: Annotated[Mapping[Label, ArmSettings], Field(max_length=MOST_ARMS)] = {}
    serve: ServedVersions | Literal["all"] = ServedVersions(latest=0)
    labels: Annotated[Mapping[Label, VersionNumber], Field(max_length=MOST_LABELS)] = {}
    precision: Precision = "auto"
    batching: BatchingSettings = BatchingSettings()
    overload: Literal["fallback", "reject"] = "fallback"
    safety: SafetySettings = SafetySettings()

    @model_validator(mode="after")
    def _arms_fit(self) -> Deployment:
        if not self.arms:
            return self
        if self.lanes.canary is not None or self.lanes.control is not None:
            msg = "arms and a canary or control are both given; expected one kind of rollout at a time"
            raise ValueError(msg)
        if taken := sorted(RESERVED & self.arms.keys()):
            msg = f"an arm is called {taken[0]}, which is a lane; expected another name"
            raise ValueError(msg)
        total = sum(arm.share for arm in self.arms.values())
        if abs(total - 1) > 1e-9:
            msg = f"the shares of the arms are {total:g} together; expected 1"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _labels_fit(self) -> Deployment:
        chosen = (self.lanes.stable, self.lanes.canary, self.lanes.shadow, *self.arms.values())
        for lane in chosen:
            version = lane.version if lane is not None else "latest"
            if isinstance(version, str) and version != "latest" and version not in self.labels:
                msg = f"label {version!r} is not in labels; expected one of {sorted(self.labels)}"
                raise ValueError(msg)
        if "latest" in self.labels:
            msg = "a label is called latest, which always is the newest version; expected another name"
            raise ValueError(msg)
        return self


def deployment_schema() -> dict[str, Any]:
    """The JSON schema of a deployment, for editors and other languages."""
    schema = Deployment.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def read_deployment_text(path: Path) -> str:
    """The text of a deployment file.

    Raises:
        UsageError: The file is not there, cannot be read, or is not text.
    """
    try:
        return path.read_text()
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError:
        raise UsageError("not UTF-8 text", where=str(path), expected="YAML") from None


def parse_deployment(text: str, *, where: str) -> Deployment:
    """A deployment from YAML or JSON.

    Raises:
        UsageError: It is not YAML, or does not say a deployment.
    """
    try:
        document = read_yaml(text)
    except yaml.YAMLError as error:
        raise UsageError(f"not YAML: {yaml_mistake(error)}", where=where) from None
    try:
        return validated(Deployment, document, where=where, line_of=Lines(text).line_of)
    except UNREADABLE:  # such as a number of more digits than Python prints
        raise UsageError("a value cannot be shown", where=where, expected="a deployment") from None
