"""Settings of the server: a YAML file, environment variables and flags, in rising order of precedence."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    YamlConfigSettingsSource,
)

from steersman.bundle.errors import UsageError
from steersman.bundle.validation import close_match, settings_error
from steersman.safety.entry_points import EntryPointName
from steersman.serving.rollout.yaml_text import UNREADABLE

PREFIX = "STEERSMAN_"
WHERE_SETTINGS_COME_FROM = (
    "A setting is an option (--repository), a variable (STEERSMAN_REPOSITORY, lists as JSON) "
    "or a line of --config."
)
OTHER_VARIABLES = frozenset(
    f"{PREFIX}{name}" for name in ("TARGET", "HEALTH_TARGET", "CONTROL", "TOKEN", "CA", "KEY_PASSPHRASE")
)
"""Variables of the other commands."""

MOST_TTL_S = 10 * 366 * 86_400.0

Port = Annotated[int, Field(ge=0, le=65535)]


def default_state_dir() -> Path:
    """Where the server keeps what must survive a restart, unless told otherwise."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "steersman"


class ServerSettings(BaseSettings):
    """All settings of `steersman serve`. Environment variables are `STEERSMAN_<NAME>`, lists in them JSON.

    Attributes:
        repository: Folder of bundles.
        deployments: Deployment files; a policy without one runs its newest version, without a fallback.
        policies: Policies to serve; empty serves all that the repository has.
        trusted_keys: Files of public keys; bundles without a valid signature by one of them are refused.
        require_signature: Whether they are: true where `trusted_keys` names any, unless false is said here,
            which serves the others too and warns of each. True without keys is an error.
        allow_entry_points: Python functions, `package.module:function`, that fallback chains may call.
            Workers import them, and nobody else.
        host: Address for gRPC. Loopback unless told otherwise.
        port: Port for gRPC; 0 picks a free one.
        http_host: Address for metrics and health over HTTP.
        http_port: Port for it; 0 picks a free one.
        control_host: Address for the control service, which moves deployments; loopback by default.
        control_port: Port for it; 0 picks a free one.
        transport: What answers gRPC: `native` is many times faster, and only for networks that are trusted
            (no TLS, no tokens, no limit on a message before it is there). `auto` takes native on loopback or
            where `trusted_network` is said, if neither TLS nor tokens are on; else grpcio.
        trusted_network: Whether everybody who can reach the gRPC port is trusted.
        tls_certificate: PEM file of the listeners' certificate chain.
        tls_key: PEM file of its key.
        tls_client_ca: PEM file of the authorities whose certificates callers must have (mTLS).
        tokens: File of callers' tokens, hashed, with their roles; see `steersman tokens`. Without one
            everybody may call who can reach the port.
        workers: Number of worker processes.
        state_dir: Folder for what must survive a restart.
        store: SQLAlchemy URL of the store of deployments; SQLite in the state folder if left out.
        keyring: File of the keys that episode tokens are signed with, for replicas to share; one of its own
            in the state folder if left out.
        episode_ttl_s: Seconds that an episode token is good for after the step that gave it.
        episode_grace_s: Seconds that a version whose lane was closed stays loaded for the episodes it has.
        poll_s: Seconds between two looks at the repository for new versions; 0 looks only when told to.
        max_rows: Most rows per call.
        max_message_bytes: Largest request.
        max_calls: Most calls in flight per worker.
        max_bytes_in_flight: Most bytes of the requests of those calls.
        max_waiting_rows: Most rows per worker that wait for models on threads, and most that are decided
            together at once; beyond that is overload.
        max_stream_calls: Most calls of one stream in flight; then it is not read until one is answered.
        max_stream_episodes: Most episodes whose tokens one stream remembers.
        max_worker_bytes: Resident memory beyond which a worker is replaced by a new one; 0 for no limit. If
            left out, 2 GiB with the native transport, which has messages in memory before it can refuse them.
        lame_duck_s: Seconds between saying NOT_SERVING and refusing calls at shutdown.
        grace_s: Seconds that calls in flight get to finish.
        hang_timeout_s: A worker that gives no sign of life for so long is ended and started again; at least
            2, for a sign is given twice a second.
        start_timeout_s: Seconds that a worker gets to load its policies.
        log_level: debug, info, warning or error.
        ready_file: Written (JSON with the addresses) once all workers answer.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    repository: Path
    deployments: tuple[Path, ...] = ()
    policies: tuple[str, ...] = ()
    trusted_keys: tuple[Path, ...] = ()
    require_signature: bool | None = None
    allow_entry_points: tuple[EntryPointName, ...] = ()
    host: str = "127.0.0.1"
    port: Port = 50051
    http_host: str = "127.0.0.1"
    http_port: Port = 8080
    control_host: str = "127.0.0.1"
    control_port: Port = 50052
    transport: Literal["auto", "grpcio", "native"] = "auto"
    trusted_network: bool = False
    tls_certificate: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    tokens: Path | None = None
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    state_dir: Path = Field(default_factory=default_state_dir)
    store: str = Field(default="", repr=False)
    keyring: Path | None = None
    episode_ttl_s: Annotated[float, Field(gt=0, le=MOST_TTL_S)] = 86_400.0
    episode_grace_s: Annotated[float, Field(ge=0)] = 600.0
    poll_s: Annotated[float, Field(ge=0)] = 5.0
    max_rows: Annotated[int, Field(ge=1)] = 4096
    max_message_bytes: Annotated[int, Field(ge=1024)] = 4 * 1024 * 1024
    max_calls: Annotated[int, Field(ge=1)] = 4096
    max_bytes_in_flight: Annotated[int, Field(ge=1)] = 256 * 1024 * 1024
    max_waiting_rows: Annotated[int, Field(ge=1)] = 16384
    max_stream_calls: Annotated[int, Field(ge=1)] = 256
    max_stream_episodes: Annotated[int, Field(ge=1)] = 4096
    max_worker_bytes: Annotated[int, Field(ge=0)] | None = None
    lame_duck_s: Annotated[float, Field(ge=0)] = 1.0
    grace_s: Annotated[float, Field(ge=0)] = 5.0
    hang_timeout_s: Annotated[float, Field(ge=2)] = 10.0
    start_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    ready_file: Path | None = None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then the environment, then the file."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls)


def load_settings(config: Path | None, flags: dict[str, Any]) -> ServerSettings:
    """Settings from a file (optional), the environment, and flags that were given.

    Raises:
        UsageError: A setting is unknown, missing or has a wrong value, or the file cannot be read.
    """
    where = str(config) if config else None
    _refuse_unknown_variables(os.environ)
    if config is not None and not config.is_file():
        raise UsageError("no such file", where=where, expected="a YAML file of settings")

    class FromFile(ServerSettings):
        model_config = SettingsConfigDict(yaml_file=config)

    try:
        return FromFile(**flags)
    except ValidationError as error:
        found = settings_error(error, ServerSettings, where=where or "settings")
        raise UsageError(
            found.what,
            where=found.where,
            expected=found.expected,
            hint=found.hint or WHERE_SETTINGS_COME_FROM,
        ) from None
    except (yaml.YAMLError, OSError, SettingsError, *UNREADABLE) as error:
        raise UsageError(f"cannot be read: {' '.join(str(error).split())}", where=where) from None


def where_from(config: Path | None, flags: Mapping[str, Any]) -> dict[str, str]:
    """Where each setting comes from: `flag`, `environment NAME`, `file PATH` or `default`.

    Args:
        config: The file that `load_settings` has read, if there is one.
        flags: Its flags.
    """
    written = yaml.safe_load(config.read_text()) or {} if config else {}
    variables = {name.upper(): name for name in os.environ}
    origins: dict[str, str] = {}
    for name in ServerSettings.model_fields:
        variable = variables.get(variable_of(name))
        if name in flags:
            origins[name] = "flag"
        elif variable is not None:
            origins[name] = f"environment {variable}"
        else:
            origins[name] = f"file {config}" if name in written else "default"
    return origins


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{name.upper()}"


def _refuse_unknown_variables(environment: Iterable[str]) -> None:
    """A misspelt variable is an error, as a misspelt setting is."""
    known = set(map(variable_of, ServerSettings.model_fields)) | OTHER_VARIABLES
    for name in sorted(environment):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            raise UsageError("unknown variable", where=name, hint=close_match(name, known))
