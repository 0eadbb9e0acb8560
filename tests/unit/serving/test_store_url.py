"""URLs of stores: what can be used, and that a password in one is in nothing that anybody reads."""

from __future__ import annotations

import logging
import socket
import string
import sys
import time
import traceback

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steersman.bundle.errors import SteersmanError, UsageError
from steersman.serving.rollout.database import open_engine
from steersman.serving.rollout.errors import StoreError
from steersman.serving.rollout.store import Store
from steersman.serving.settings_text import masked
from support.postgres import Postgres

SECRETS = st.text(string.ascii_letters + string.digits, min_size=6, max_size=12).map(lambda text: f"Zq{text}")
GLUE = st.text("@:/?#[]%&=+ \\'", max_size=4)
KINDS = st.sampled_from(["postgresql", "postgres", "postgresql+psycopg", "nonsense", "mysql", "sqlite", ""])


@pytest.mark.parametrize("name", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgresql_by_any_of_its_names_has_the_driver_that_is_installed_with_it(name: str) -> None:
    engine = open_engine(f"{name}://me:pw@host/db")
    assert (engine.dialect.name, engine.dialect.driver) == ("postgresql", "psycopg")


def test_what_a_url_says_outranks_what_we_would(postgres: Postgres) -> None:
    url = f"{postgres.new_database()}&application_name=host-7"
    engine = open_engine(url)
    with engine.connect() as connection:
        said = connection.exec_driver_sql("SHOW application_name").scalar()
        limits = [
            connection.exec_driver_sql(f"SHOW {name}").scalar()
            for name in ("lock_timeout", "statement_timeout")
        ]
    engine.dispose()
    assert said == "host-7"
    assert limits == ["2s", "5s"]


def test_a_driver_that_is_missing_is_said_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UsageError, match=r"pip install 'steersman\[postgres\]'"):
        Store("postgresql://me:pw@host/db")


@pytest.mark.parametrize("wrong", ["postgresql+asyncpg://host/db", "sqlite+aiosqlite:///x.db"])
def test_an_asynchronous_driver_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match="store: not a database"):
        open_engine(wrong)


@settings(deadline=None)
@given(kind=KINDS, before=GLUE, secret=SECRETS, after=GLUE, more=SECRETS)
def test_no_part_of_a_password_is_in_an_error_however_wrong_its_url_is(
    kind: str, before: str, secret: str, after: str, more: str
) -> None:
    url = f"{kind}://me:{before}{secret}{after}{more}@db.invalid:54320/store"
    try:
        said = str(open_engine(url).url)
    except SteersmanError as error:
        said = "".join(traceback.format_exception(error))
    for part in (secret, more):
        assert part not in said
        assert part not in masked(url)


def test_no_password_is_in_an_error_or_in_the_log_where_it_is_refused(
    postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = postgres.url("postgres").replace("hunter2", "hunter3")
    with pytest.raises(StoreError, match="password authentication failed") as refused:
        Store(wrong)
    said = "".join(traceback.format_exception(refused.value))
    assert "hunter" not in said + caplog.text


def test_a_host_that_takes_connections_and_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steersman.serving.rollout.postgres.LIBPQ", {"connect_timeout": 1})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        with pytest.raises(StoreError, match="timeout"):
            Store(f"postgresql://me:pw@127.0.0.1:{silent.getsockname()[1]}/db")
    assert time.monotonic() - begun < 10
