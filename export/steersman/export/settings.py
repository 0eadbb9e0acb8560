"""Everything that may be asked of an export, before any default is filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from steersman.bundle.manifest import PolicyName
from steersman.export.vocabulary import Algorithm

Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class ExportSettings(BaseModel):
    """A request for a bundle. None means: as the source says, else what the file itself tells."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Path
    """An SB3 zip, or a run folder that `steersman train` wrote."""
    repository: Path
    """Folder of bundles; made when it is not there."""
    policy: PolicyName | None = None
    """None is the environment's id without its version in lower case, else the file's name."""
    version: Annotated[int, Field(ge=1)] | None = None
    """None is the next free one."""
    env_id: Annotated[str, Field(min_length=1)] | None = None
    env_kwargs: dict[str, JsonValue] = {}
    env_import: str | None = None
    """Module to import first: it registers the environment."""
    vecnormalize: Path | None = None
    """File that `VecNormalize.save` wrote."""
    algo: Algorithm | None = None
    """Overrules what is inferred from the zip, which does not name its algorithm."""
    feature_names: Names | None = None
    action_names: Names | None = None
    reference_episodes: Annotated[int, Field(ge=0)] = 100
    """Episodes per serving mode that the reference is measured on; 0 plays none."""
    require_int8: bool = False
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
