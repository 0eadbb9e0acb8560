"""`steersman serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def serve(
    repository: Annotated[Path | None, typer.Option(help="Folder of bundles.")] = None,
    deployment: Annotated[
        list[Path] | None, typer.Option(help="Deployment file of a policy; may be repeated.")
    ] = None,
    policy: Annotated[list[str] | None, typer.Option(help="Serve only this policy; may be repeated.")] = None,
    host: Annotated[str | None, typer.Option(help="Address for gRPC.", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port for gRPC; 0 picks one.", show_default="50051")
    ] = None,
    http_host: Annotated[
        str | None, typer.Option(help="Address for metrics and health.", show_default="127.0.0.1")
    ] = None,
    http_port: Annotated[
        int | None, typer.Option(help="Port for metrics and health; 0 picks one.", show_default="8080")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Worker processes.", show_default="1")] = None,
    state_dir: Annotated[Path | None, typer.Option(help="Folder for what survives a restart.")] = None,
    lame_duck: Annotated[
        float | None, typer.Option(help="Seconds of NOT_SERVING before the end.", show_default="0")
    ] = None,
    grace: Annotated[
        float | None, typer.Option(help="Seconds for calls in flight at the end.", show_default="5")
    ] = None,
    hang_timeout: Annotated[
        float | None, typer.Option(help="Seconds until a silent worker is replaced.", show_default="10")
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(help="debug, info, warning, error.", show_default="info")
    ] = None,
    ready_file: Annotated[
        Path | None, typer.Option(help="Written with the addresses when all answer.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings; flags win.")] = None,
) -> None:
    """Serve policies over gRPC until told to end.

    Settings come from --config, then STEERSMAN_* variables, then flags. Metrics are on the HTTP port.
    """
    from steersman.serving.logs import configure_logs
    from steersman.serving.settings import load_settings
    from steersman.serving.supervisor import run_server

    flags = {
        "repository": repository,
        "deployments": tuple(deployment) if deployment else None,
        "policies": tuple(policy) if policy else None,
        "host": host,
        "port": port,
        "http_host": http_host,
        "http_port": http_port,
        "workers": workers,
        "state_dir": state_dir,
        "lame_duck_s": lame_duck,
        "grace_s": grace,
        "hang_timeout_s": hang_timeout,
        "log_level": log_level,
        "ready_file": ready_file,
    }
    settings = load_settings(config, {name: value for name, value in flags.items() if value is not None})
    configure_logs(settings.log_level)
    run_server(settings)
