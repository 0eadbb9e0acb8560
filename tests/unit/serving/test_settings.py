"""Settings: which source wins, what is refused, and how they are printed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from steersman.bundle.errors import UsageError
from steersman.serving.security.exposure import check_exposure
from steersman.serving.settings import ServerSettings, load_settings, where_from
from steersman.serving.settings_text import masked, settings_text

URL_PART = st.text(st.characters(exclude_characters="/?#@:", exclude_categories=["C", "Z"]), min_size=1)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A file of settings."""
    path = tmp_path / "steersman.yaml"
    path.write_text("repository: /from-the-file\nworkers: 2\nport: 1\n")
    return path


def settings_of(**given: Any) -> ServerSettings:
    return ServerSettings(repository=Path("/bundles"), **given)


def test_flags_win_over_the_environment_and_that_over_the_file(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEERSMAN_PORT", "2")
    monkeypatch.setenv("steersman_http_port", "4")
    flags = {"workers": 3, "policies": ["a"]}
    settings = load_settings(config, flags)
    found = (settings.repository, settings.port, settings.http_port, settings.workers, settings.policies)
    assert found == (Path("/from-the-file"), 2, 4, 3, ("a",))
    origins = where_from(config, flags)
    assert origins.keys() == ServerSettings.model_fields.keys()
    assert {name: origin for name, origin in origins.items() if origin != "default"} == {
        "repository": f"file {config}",
        "port": "environment STEERSMAN_PORT",
        "http_port": "environment steersman_http_port",
        "workers": "flag",
        "policies": "flag",
    }


@pytest.mark.parametrize("name", ["STEERSMAN_PROT", "steersman_prot", "STEERSMAN_"])
def test_a_misspelt_variable_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(UsageError, match=f"{name}: unknown variable"):
        load_settings(None, {"repository": "/bundles"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("repository: /b\nprot: 1\n", "Did you mean port?"),
        ("repository: /b\nport: many\n", "port"),
        ("repository: /b\ntransport: fast\n", "transport"),
        ("workers: 1\n", "repository: missing field"),
        ("- a\n", "cannot be read"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_it(config: Path, text: str, said: str) -> None:
    config.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_settings(config, {})
    assert said in str(caught.value)
    assert str(config) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_file_leaves_the_rest_to_the_others(config: Path) -> None:
    config.write_text("# nothing yet\n")
    assert load_settings(config, {"repository": "/b"}).workers == 1
    assert set(where_from(config, {}).values()) == {"default"}


def test_what_is_printed_can_be_read_again(config: Path, tmp_path: Path) -> None:
    flags: Mapping[str, Any] = {"policies": ["a", "#b"], "store": "sqlite:///x.db", "log_level": "error"}
    settings = load_settings(config, dict(flags))
    printed = settings_text(settings, where_from(config, flags))
    again = tmp_path / "again.yaml"
    again.write_text(printed)
    assert load_settings(again, {}).model_dump() == settings.model_dump()
    assert yaml.safe_load(printed).keys() == ServerSettings.model_fields.keys()
    lines = printed.splitlines()
    assert len(lines) == 1 + len(ServerSettings.model_fields)
    assert all("  # " in line for line in lines[1:])
    assert f"workers: 2{' ' * 36}# file {config}" in lines


def test_secrets_are_masked(config: Path) -> None:
    flags = {"store": "postgresql://steersman:s3cret@db/steersman"}
    printed = settings_text(load_settings(config, flags), where_from(config, flags))
    assert "s3cret" not in printed
    (line,) = [line for line in printed.splitlines() if line.startswith("store:")]
    assert "postgresql://steersman:***@db/steersman" in line
    assert line.endswith("# flag (masked)")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("", ""),
        ("sqlite:////var/lib/steersman/store.db", "sqlite:////var/lib/steersman/store.db"),
        ("postgresql://u@db:5432/s", "postgresql://u@db:5432/s"),
        ("postgresql://u:p@db:5432/s", "postgresql://u:***@db:5432/s"),
        ("postgresql://u:p@ss:@db/s", "postgresql://u:***@db/s"),
        ("postgresql://:p@db/s", "postgresql://:***@db/s"),
        (
            "postgresql:///s?host=db&password=p&sslmode=require",
            "postgresql:///s?host=db&password=***&sslmode=require",
        ),
        ("postgresql:///s?sslpassword=p", "postgresql:///s?sslpassword=***"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert masked(url) == shown


@given(user=URL_PART, password=st.text(min_size=4))
def test_no_password_is_ever_shown(user: str, password: str) -> None:
    assert masked(f"postgresql://{user}:{password}@db/s") == f"postgresql://{user}:***@db/s"


TLS = {"tls_certificate": Path("/c.pem"), "tls_key": Path("/k.pem")}
TOKENS = {"tokens": Path("/tokens.yaml")}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"host": "0.0.0.0"},
        TOKENS,
        {**TOKENS, **TLS, "host": "0.0.0.0", "control_host": "0.0.0.0"},
        {**TOKENS, "host": "0.0.0.0", "trusted_network": True},
        {**TLS, "tls_client_ca": Path("/ca.pem"), "control_host": "::"},
        {**TOKENS, **TLS, "control_host": "10.0.0.1"},
        {"control_host": "::1"},
    ],
)
def test_settings_that_protect_what_they_say_are_taken(given: dict[str, Any]) -> None:
    check_exposure(settings_of(**given))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tls_key": Path("/k.pem")}, "tls_certificate: missing"),
        ({"tls_certificate": Path("/c.pem")}, "tls_key: missing"),
        ({"tls_client_ca": Path("/ca.pem")}, "tls_certificate: missing"),
        ({"tls_client_ca": Path("/ca.pem"), "trusted_network": True}, "tls_certificate: missing"),
        ({**TOKENS, "host": "0.0.0.0"}, "host: 0.0.0.0: tokens would cross the network in plain text"),
        ({**TOKENS, "host": "::"}, "host: ::: tokens"),
        ({**TOKENS, "host": "steersman.example"}, "host: steersman.example: tokens"),
        ({**TOKENS, "control_host": "10.0.0.1"}, "control_host: 10.0.0.1: tokens"),
        (
            {"control_host": "0.0.0.0"},
            "control_host: 0.0.0.0: everybody on the network could move deployments",
        ),
        ({**TLS, "control_host": "0.0.0.0"}, "everybody on the network could move deployments"),
    ],
)
def test_settings_that_protect_less_than_they_seem_to_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_exposure(settings_of(**given))
    assert said in str(caught.value)
