"""The options of `steersman serve`, each for the setting of its name; the file fills what is not given."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

_what = partial(typer.Option, rich_help_panel="What is served")
_where = partial(typer.Option, rich_help_panel="Where it listens")
_who = partial(typer.Option, rich_help_panel="Security: docs/security.md")
_limit = partial(typer.Option, rich_help_panel="Limits")
_life = partial(typer.Option, rich_help_panel="Processes, start and end")

Repository = Annotated[Path | None, _what(help="Folder of bundles.")]
Deployments = Annotated[list[Path] | None, _what("--deployment", help="Deployment file; may be repeated.")]
Policies = Annotated[list[str] | None, _what("--policy", help="Serve only this; may be repeated.")]
Poll = Annotated[
    float | None,
    _what("--poll", help="Seconds between looks for new versions; 0 never.", show_default="5"),
]
StateDir = Annotated[Path | None, _what(help="Folder for what survives a restart.")]
Store = Annotated[str | None, _what(help="Database URL for deployments.", show_default="SQLite there")]
Keyring = Annotated[
    Path | None, _what(help="Keys of episode tokens, for replicas to share.", show_default="one there")
]
EpisodeTtl = Annotated[
    float | None,
    _what("--episode-ttl", help="Seconds that an episode token is good for.", show_default="86400"),
]
EpisodeGrace = Annotated[
    float | None,
    _what("--episode-grace", help="Seconds for the episodes of a closed lane.", show_default="600"),
]

Host = Annotated[str | None, _where(help="Address for gRPC.", show_default="127.0.0.1")]
Port = Annotated[int | None, _where(help="Port for gRPC; 0 picks one.", show_default="50051")]
HttpHost = Annotated[str | None, _where(help="Address for HTTP.", show_default="127.0.0.1")]
HttpPort = Annotated[
    int | None, _where(help="Port for metrics and health; 0 picks one.", show_default="8080")
]
ControlHost = Annotated[str | None, _where(help="Address for control.", show_default="127.0.0.1")]
ControlPort = Annotated[
    int | None, _where(help="Port to move deployments; 0 picks one.", show_default="50052")
]
Transport = Annotated[str | None, _where(help="auto, grpcio or native.", show_default="auto")]

TrustedNetwork = Annotated[
    bool | None,
    _who(
        "--trusted-network/--untrusted-network",
        help="All who reach the ports are trusted.",
        show_default="untrusted",
    ),
]
TlsCertificate = Annotated[Path | None, _who(help="Certificate chain, PEM: TLS for gRPC and control.")]
TlsKey = Annotated[Path | None, _who(help="Its key, PEM.")]
TlsClientCa = Annotated[Path | None, _who(help="Authorities of callers' certificates, PEM: mTLS.")]
Tokens = Annotated[Path | None, _who(help="File of callers; `steersman tokens` writes it.")]
TrustedKeys = Annotated[
    list[Path] | None,
    _who("--trusted-key", help="Public key; only bundles signed by such a key are served."),
]
RequireSignature = Annotated[
    bool | None,
    _who(
        "--require-signed/--allow-unsigned",
        help="Refuse bundles without a trusted signature.",
        show_default="if a key is trusted",
    ),
]
AllowEntryPoints = Annotated[
    list[str] | None,
    _who("--allow-entry-point", help="Python function that fallback chains may call."),
]

MaxRows = Annotated[int | None, _limit(help="Rows of a call.", show_default="4096")]
MaxMessageBytes = Annotated[int | None, _limit(help="Bytes of a request.", show_default="4194304")]
MaxCalls = Annotated[int | None, _limit(help="Calls in flight, per worker.", show_default="4096")]
MaxBytesInFlight = Annotated[
    int | None, _limit(help="Bytes of calls in flight, per worker.", show_default="268435456")
]
MaxWaitingRows = Annotated[
    int | None, _limit(help="Rows that wait for a model, per worker.", show_default="16384")
]
MaxStreamCalls = Annotated[int | None, _limit(help="Calls in flight of a stream.", show_default="256")]
MaxStreamEpisodes = Annotated[
    int | None, _limit(help="Episodes that a stream remembers.", show_default="4096")
]
MaxWorkerBytes = Annotated[
    int | None, _limit(help="Memory of a worker; 0: no limit.", show_default="0; native: 2 GiB")
]

Workers = Annotated[int | None, _life(help="Worker processes.", show_default="1")]
LameDuck = Annotated[
    float | None, _life("--lame-duck", help="Seconds of NOT_SERVING before the end.", show_default="1")
]
Grace = Annotated[
    float | None, _life("--grace", help="Seconds for calls in flight at the end.", show_default="5")
]
HangTimeout = Annotated[
    float | None,
    _life("--hang-timeout", help="Seconds until a silent worker is replaced.", show_default="10"),
]
StartTimeout = Annotated[
    float | None, _life("--start-timeout", help="Seconds for a worker to load.", show_default="60")
]
LogLevel = Annotated[str | None, _life(help="debug, info, warning or error.", show_default="info")]
ReadyFile = Annotated[Path | None, _life(help="Written with the addresses when all answer.")]

Config = Annotated[Path | None, typer.Option(help="YAML file of settings; flags win.")]
PrintConfig = Annotated[bool, typer.Option("--print-config", help="Print the settings in force, and end.")]
