"""The options of `steersman serve`, each for the setting of its name; the file fills what is not given."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Repository = Annotated[Path | None, typer.Option(help="Folder of bundles.")]
Deployments = Annotated[
    list[Path] | None, typer.Option("--deployment", help="Deployment file; may be repeated.")
]
Policies = Annotated[list[str] | None, typer.Option("--policy", help="Serve only this; may be repeated.")]
TrustedKeys = Annotated[
    list[Path] | None,
    typer.Option("--trusted-key", help="Public key; only bundles signed by such a key are served."),
]
Host = Annotated[str | None, typer.Option(help="Address for gRPC.", show_default="127.0.0.1")]
Port = Annotated[int | None, typer.Option(help="Port for gRPC; 0 picks one.", show_default="50051")]
HttpHost = Annotated[str | None, typer.Option(help="Address for HTTP.", show_default="127.0.0.1")]
HttpPort = Annotated[
    int | None, typer.Option(help="Port for metrics and health; 0 picks one.", show_default="8080")
]
Workers = Annotated[int | None, typer.Option(help="Worker processes.", show_default="1")]
StateDir = Annotated[Path | None, typer.Option(help="Folder for what survives a restart.")]
LameDuck = Annotated[
    float | None, typer.Option("--lame-duck", help="Seconds of NOT_SERVING before the end.", show_default="0")
]
Grace = Annotated[
    float | None, typer.Option("--grace", help="Seconds for calls in flight at the end.", show_default="5")
]
HangTimeout = Annotated[
    float | None,
    typer.Option("--hang-timeout", help="Seconds until a silent worker is replaced.", show_default="10"),
]
LogLevel = Annotated[str | None, typer.Option(help="debug, info, warning or error.", show_default="info")]
ReadyFile = Annotated[Path | None, typer.Option(help="Written with the addresses when all answer.")]
Config = Annotated[Path | None, typer.Option(help="YAML file of settings; flags win.")]
