"""Everything that may be asked of an export, before any default is filled in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationInfo, field_validator, model_validator

from steersman.bundle.manifest import PolicyName
from steersman.export.vocabulary import Algorithm, ImageLayout

Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class NamedWrapper(BaseModel):
    """A wrapper around the environment, as a run or a person names it.

    It is also read from text, the name alone or with its arguments, such as `frame_stack:{"frames": 4}`.

    Attributes:
        name: A name that export knows, such as `frame_stack`, or the path of a class.
        arguments: What it was made with.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1)]
    arguments: dict[str, JsonValue] = {}

    @model_validator(mode="before")
    @classmethod
    def _read_line(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        name, separator, arguments = value.partition(":")
        try:
            return {"name": name, "arguments": json.loads(arguments) if separator else {}}
        except json.JSONDecodeError as error:
            msg = f"expected NAME or NAME:ARGUMENTS with arguments as a JSON object ({error})"
            raise ValueError(msg) from error


class ExportSettings(BaseModel):
    """A request for a bundle. None means: as the source says, else what the file itself tells."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Path
    """An SB3 zip, or a run folder that `steersman train` or rl-baselines3-zoo wrote."""
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
    observations: Path | None = None
    """File of observations that the policy saw, `obs` or `obs/<key>` [N, *shape]; see `sources.recorded`."""
    wrapper: tuple[NamedWrapper, ...] = ()
    """Wrappers around the training environment, innermost first; they replace those that a run names."""
    declare_wrapper: tuple[NamedWrapper, ...] = ()
    """Wrappers that export does not know and that callers of the policy will apply."""
    image_layout: ImageLayout | None = None
    """None is that of the environment, and where none is known SB3's own: channels first."""
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
    overwrite: bool = False
    """Replaces the version asked for when it exists."""
    int8: bool = True
    """Makes 8-bit variants too."""
    trust_code: bool = False
    """Runs what the file names or contains outside the list: the user's own modules and pickled classes."""
    import_path: tuple[Path, ...] = ()
    """Folders that the user's modules are found in, with `trust_code`."""
    sign: Path | None = None
    """Private key to sign the manifest with."""

    @field_validator("overwrite")
    @classmethod
    def _overwrites_something(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001  pydantic calls it
        if value and info.data.get("version") is None:
            msg = "which version is to be overwritten? Name it with --version"
            raise ValueError(msg)
        return value

    @field_validator("int8")
    @classmethod
    def _requires_what_it_makes(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001
        if not value and info.data.get("require_int8"):
            msg = "an 8-bit variant cannot be required (--require-int8) and left out (--no-int8)"
            raise ValueError(msg)
        return value

    @field_validator("import_path")
    @classmethod
    def _imports_what_is_trusted(cls, value: tuple[Path, ...], info: ValidationInfo) -> tuple[Path, ...]:
        if value and not info.data.get("trust_code"):
            msg = "nothing is imported without --trust-code"
            raise ValueError(msg)
        return value
