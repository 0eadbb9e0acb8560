"""`steersman serve`: every setting is an option, and --print-config shows what came of them."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import yaml

from steersman.cli.serve import NO_SETTINGS, serve
from steersman.serving.settings import ServerSettings
from unit.cli.conftest import Steersman


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """The command sends the logs of this process elsewhere."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def options() -> dict[str, Any]:
    """What typer knows of each option, by the name of its setting."""
    hints = get_type_hints(serve, include_extras=True)
    return {name: get_args(hints[name])[1] for name in inspect.signature(serve).parameters}


def test_every_setting_is_an_option() -> None:
    assert options().keys() - NO_SETTINGS == ServerSettings.model_fields.keys()


def test_options_show_the_defaults_of_their_settings() -> None:
    words = {"trusted_network": {"untrusted": False}, "require_signature": {"if a key is trusted": None}}
    words |= {"store": {"SQLite there": ""}, "keyring": {"one there": None}}
    words |= {"max_worker_bytes": {"0; native: 2 GiB": None}}
    for name, option in options().items():
        if not isinstance(option.show_default, str):
            continue
        default = ServerSettings.model_fields[name].default
        shown = words.get(name, {}).get(option.show_default, option.show_default)
        assert shown == default or float(shown) == default, name


def test_no_default_is_left_unsaid() -> None:
    unsaid = {name for name, option in options().items() if not isinstance(option.show_default, str)}
    for name in unsaid - NO_SETTINGS - {"state_dir"}:
        assert ServerSettings.model_fields[name].default in {None, ()} or name == "repository"


def test_print_config_shows_each_setting_and_its_source(
    steersman: Steersman, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "steersman.yaml"
    config.write_text("repository: /nowhere\nworkers: 2\n")
    monkeypatch.setenv("STEERSMAN_PORT", "1234")
    monkeypatch.setenv("STEERSMAN_STORE", "postgresql://steersman:s3cret@db/steersman")
    done = steersman("serve", "--config", str(config), "--require-signed", "--policy", "a", "--print-config")
    assert (done.status, done.err) == (0, "")
    assert "s3cret" not in done.out
    printed = yaml.safe_load(done.out)
    assert printed["policies"] == ["a"]
    assert printed["require_signature"] is True
    assert (printed["port"], printed["workers"]) == (1234, 2)
    remarks = {line.partition(":")[0]: line.partition("  # ")[2] for line in done.out.splitlines()}
    assert remarks["require_signature"] == remarks["policies"] == "flag"
    assert remarks["port"] == "environment STEERSMAN_PORT"
    assert remarks["store"] == "environment STEERSMAN_STORE (masked)"
    assert remarks["workers"] == f"file {config}"
    assert remarks["host"] == "default"


def test_print_config_refuses_what_the_server_would(steersman: Steersman) -> None:
    done = steersman("serve", "--repository", "/nowhere", "--transport", "fast", "--print-config")
    assert (done.status, done.out) == (2, "")
    assert "transport" in done.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--tls-key", "/nowhere"], "tls_certificate: missing"),
        (["--tokens", "/nowhere", "--host", "0.0.0.0"], "tokens would cross the network in plain text"),
        (["--control-host", "0.0.0.0"], "everybody on the network could move deployments"),
        (
            ["--tls-key", "/nowhere", "--tls-certificate", "/nowhere"],
            "tls_certificate: /nowhere: cannot be read",
        ),
        (["--tokens", "/nowhere"], "/nowhere: cannot be read"),
        (["--require-signed"], "a signature is required, but no key is trusted"),
    ],
)
def test_a_server_that_would_not_be_protected_does_not_start(
    steersman: Steersman, tmp_path: Path, words: list[str], said: str
) -> None:
    state = str(tmp_path / "state")
    done = steersman(
        "serve", "--repository", str(tmp_path), "--state-dir", state, "--log-level", "error", *words
    )
    assert done.status == 2
    (line,) = done.err.splitlines()
    assert said in line
