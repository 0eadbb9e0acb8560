"""The deployment of a policy, as people write it: which version runs, and how it is kept safe.

policy: cartpole
lanes:
  stable: {version: latest}      # or a number
precision: auto                  # auto | fp32 | int8
safety:                          # see steersman.safety.settings
  fallback:
    - constant: 0
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field

from steersman.bundle.errors import UsageError
from steersman.bundle.manifest import PolicyName
from steersman.bundle.validation import Settings, validated
from steersman.safety.settings import SafetySettings

STABLE = "stable"
Precision = Literal["auto", "fp32", "int8"]
VersionChoice = Literal["latest"] | Annotated[int, Field(ge=1)]


class LaneSettings(Settings):
    """What runs in a lane."""

    version: VersionChoice = "latest"


class Lanes(Settings):
    """The lanes of a policy. Canary, shadow and arms come with rollouts; today there is the stable lane."""

    stable: LaneSettings = LaneSettings()


class Deployment(Settings):
    """One policy's deployment. A policy without one runs its newest version, guarded, without a fallback.

    Attributes:
        policy: Name of the policy.
        lanes: Which version runs in which lane.
        precision: Variant to run; `auto` takes the one that is fastest on the serving host.
        safety: Guard and fallback.
    """

    policy: PolicyName
    lanes: Lanes = Lanes()
    precision: Precision = "auto"
    safety: SafetySettings = SafetySettings()


def read_deployment(path: Path) -> Deployment:
    """Reads a deployment file.

    Raises:
        UsageError: The file is not there, is not YAML, or does not say a deployment.
    """
    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError:
        raise UsageError("not UTF-8 text", where=str(path), expected="YAML") from None
    except yaml.YAMLError as error:
        line = str(error).replace("\n", " ")
        raise UsageError(f"not YAML: {line}", where=str(path)) from None
    return validated(Deployment, document, where=str(path))
