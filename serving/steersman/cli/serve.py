"""`steersman serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from steersman.cli import serve_options as options


def serve(  # cap: parameters, one for each setting
    *,
    repository: options.Repository = None,
    deployments: options.Deployments = None,
    policies: options.Policies = None,
    poll_s: options.Poll = None,
    state_dir: options.StateDir = None,
    store: options.Store = None,
    keyring: options.Keyring = None,
    episode_ttl_s: options.EpisodeTtl = None,
    episode_grace_s: options.EpisodeGrace = None,
    host: options.Host = None,
    port: options.Port = None,
    http_host: options.HttpHost = None,
    http_port: options.HttpPort = None,
    control_host: options.ControlHost = None,
    control_port: options.ControlPort = None,
    transport: options.Transport = None,
    trusted_network: options.TrustedNetwork = None,
    tls_certificate: options.TlsCertificate = None,
    tls_key: options.TlsKey = None,
    tls_client_ca: options.TlsClientCa = None,
    tokens: options.Tokens = None,
    trusted_keys: options.TrustedKeys = None,
    require_signature: options.RequireSignature = None,
    allow_entry_points: options.AllowEntryPoints = None,
    max_rows: options.MaxRows = None,
    max_message_bytes: options.MaxMessageBytes = None,
    max_calls: options.MaxCalls = None,
    max_bytes_in_flight: options.MaxBytesInFlight = None,
    max_waiting_rows: options.MaxWaitingRows = None,
    max_stream_calls: options.MaxStreamCalls = None,
    max_stream_episodes: options.MaxStreamEpisodes = None,
    max_worker_bytes: options.MaxWorkerBytes = None,
    workers: options.Workers = None,
    lame_duck_s: options.LameDuck = None,
    grace_s: options.Grace = None,
    hang_timeout_s: options.HangTimeout = None,
    start_timeout_s: options.StartTimeout = None,
    log_level: options.LogLevel = None,
    ready_file: options.ReadyFile = None,
    config: options.Config = None,
    print_config: options.PrintConfig = False,
) -> None:
    """Serve policies over gRPC until told to end.

    Settings come from --config, then STEERSMAN_* variables, then flags;
    --print-config shows what came of them. Metrics and health are on the HTTP
    port. SIGTERM and Ctrl-C end it in good order, with status 0. The log is
    text on a terminal and JSON elsewhere.
    """
    given = locals()  # every option by its setting's name
    flags = {name: value for name, value in given.items() if name not in NO_SETTINGS and value is not None}
    _run(config, flags, print_only=print_config)


NO_SETTINGS = frozenset({"config", "print_config"})


def _run(config: Path | None, flags: dict[str, Any], *, print_only: bool) -> None:
    from steersman.serving.settings import load_settings, where_from

    settings = load_settings(config, flags)
    if print_only:
        from steersman.serving.settings_text import settings_text

        typer.echo(settings_text(settings, where_from(config, flags)))
        return
    from steersman.serving.logs import configure_logs
    from steersman.serving.supervising.supervisor import run_server

    configure_logs(settings.log_level)
    run_server(settings)
