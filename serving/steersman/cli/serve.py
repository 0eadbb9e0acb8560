"""`steersman serve`."""

from __future__ import annotations

from steersman.cli import serve_options as options


def serve(
    *,
    repository: options.Repository = None,
    deployments: options.Deployments = None,
    policies: options.Policies = None,
    trusted_keys: options.TrustedKeys = None,
    host: options.Host = None,
    port: options.Port = None,
    http_host: options.HttpHost = None,
    http_port: options.HttpPort = None,
    workers: options.Workers = None,
    state_dir: options.StateDir = None,
    lame_duck_s: options.LameDuck = None,
    grace_s: options.Grace = None,
    hang_timeout_s: options.HangTimeout = None,
    log_level: options.LogLevel = None,
    ready_file: options.ReadyFile = None,
    config: options.Config = None,
) -> None:
    """Serve policies over gRPC until told to end.

    Settings come from --config, then STEERSMAN_* variables, then flags. Metrics
    and health are on the HTTP port. SIGTERM and Ctrl-C end it in good order.
    """
    flags = {name: value for name, value in locals().items() if name != "config" and value is not None}
    from steersman.serving.logs import configure_logs
    from steersman.serving.settings import load_settings
    from steersman.serving.supervisor import run_server

    settings = load_settings(config, flags)
    configure_logs(settings.log_level)
    run_server(settings)
