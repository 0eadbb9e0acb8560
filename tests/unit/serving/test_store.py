"""The store: what it keeps, who wins of two at once, and stores of other releases."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from steersman.bundle.errors import UsageError
from steersman.serving.rollout.archive import Archive
from steersman.serving.rollout.database import _migrate, bring_up_to_date, open_engine
from steersman.serving.rollout.deployment import Deployment
from steersman.serving.rollout.errors import RevisionConflictError, StoreError
from steersman.serving.rollout.journal import Change, Entry
from steersman.serving.rollout.state import DeploymentState
from steersman.serving.rollout.store import Store, sqlite_url
from steersman.serving.rollout.tables import REVISION, metadata


@pytest.fixture
def url(tmp_path: Path) -> str:
    return sqlite_url(tmp_path / "store.db")


def change(revision: int, version: int = 1, policy: str = "toy") -> Change:
    deployment = Deployment.model_validate({"policy": policy, "lanes": {"stable": {"version": version}}})
    state = DeploymentState(deployment=deployment, revision=revision, rollout_id="r1", epoch=2)
    return Change(state, "apply", "ann", "why not", ("stable: version 1 -> 2",), 10**18 + revision)


def test_what_was_saved_is_there_for_the_next_server(url: str) -> None:
    Store(url).save(change(1), "ab" * 32)
    Store(url).save(change(2, version=2))
    stored = Store(url).states()["toy"]
    assert stored.state == change(2, version=2).state
    assert stored.seed_digest == "ab" * 32


def test_the_history_has_who_and_why_newest_first(url: str) -> None:
    store = Store(url)
    for revision in (1, 2, 3):
        store.save(change(revision, version=revision))
    store.save(change(1, policy="other"))
    newest, *older = store.entries("toy")
    assert [entry.revision for entry in (newest, *older)] == [3, 2, 1]
    assert newest == Entry(
        id=3,
        policy="toy",
        revision=3,
        at_unix_nanos=10**18 + 3,
        actor="ann",
        action="apply",
        reason="why not",
        changes=("stable: version 1 -> 2",),
        document='{"policy":"toy","lanes":{"stable":{"version":3}}}',
        rollout_id="r1",
        epoch=2,
    )
    assert [entry.policy for entry in store.entries(limit=2)] == ["other", "toy"]
    assert [entry.id for entry in store.entries(before_id=3)] == [2, 1]
    found = store.entry("toy", 2)
    assert found is not None
    assert found.id == 2
    assert store.entry("toy", 9) is None


@pytest.mark.parametrize("revision", [1, 2, 4])
def test_of_two_changes_from_the_same_revision_one_fails_as_a_whole(url: str, revision: int) -> None:
    store, other = Store(url), Store(url)
    store.save(change(1))
    store.save(change(2))
    with pytest.raises(RevisionConflictError):
        other.save(change(revision, version=9))
    assert store.states()["toy"].state == change(2).state
    assert len(store.entries()) == 2


def test_a_seed_is_remembered_without_a_change(url: str) -> None:
    store = Store(url)
    store.save(change(1))
    store.note_seed("toy", "cd" * 32)
    assert store.states()["toy"].seed_digest == "cd" * 32
    assert len(store.entries()) == 1


def test_the_migrations_lead_to_the_tables(url: str) -> None:
    engine = open_engine(url)
    with engine.begin() as connection:
        _migrate(connection, None)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert context.get_current_revision() == REVISION
        assert compare_metadata(context, metadata) == []
    Store(url).save(change(1))


def test_new_tables_are_marked_as_alembic_marks_them(url: str) -> None:
    engine = open_engine(url)
    with engine.begin() as connection:
        bring_up_to_date(engine)
        assert MigrationContext.configure(connection).get_current_revision() == REVISION
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_store_of_a_later_release_is_left_alone(url: str) -> None:
    Store(url)
    with open_engine(url).begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="schema '9999'"):
        Store(url)


def test_a_document_that_is_not_understood_is_an_error_and_not_a_default(url: str) -> None:
    Store(url).save(change(1))
    with open_engine(url).begin() as connection:
        connection.execute(sa.text("""UPDATE deployments SET document = '{"policy": "toy", "later": 1}'"""))
    with pytest.raises(StoreError, match="later: unknown field"):
        Store(url).states()
    assert len(Store(url).entries()) == 1


def test_a_file_that_is_no_database_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="cannot be used"):
        Store(sqlite_url(tmp_path / "store.db"))


@pytest.mark.parametrize("wrong", ["nonsense", "oracle9://host/db", "sqlite+nodriver:///x"])
def test_a_url_that_cannot_be_used_is_said_in_a_line(wrong: str) -> None:
    with pytest.raises(UsageError, match="expected a URL of SQLAlchemy"):
        Store(wrong)


def test_a_password_in_a_url_is_in_no_error() -> None:
    with pytest.raises(UsageError) as refused:
        Store("nonsense://me:hunter2@host/db")
    assert "hunter2" not in str(refused.value)


def test_a_store_that_is_locked_by_another_is_an_error_after_a_while(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steersman.serving.rollout.database.LOCKED_S", 0.05)
    store = Store(url)
    other = sqlite3.connect(tmp_path / "store.db")
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(StoreError, match="locked"):
            store.save(change(1))
    finally:
        other.close()
    store.save(change(1))


async def test_an_archive_opens_the_store_when_it_is_needed(tmp_path: Path) -> None:
    archive = Archive("", tmp_path)
    assert archive.empty
    await archive.use(lambda store: store.save(change(1)))
    assert not Archive("", tmp_path).empty
    assert (await Archive("", tmp_path).use(lambda store: store.states()))["toy"].state.revision == 1


def test_alembic_is_imported_only_to_migrate(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from steersman.serving.rollout.store import Store, sqlite_url\n"
        "Store(sqlite_url(Path(sys.argv[1]))); Store(sqlite_url(Path(sys.argv[1]))); "
        "sys.exit('alembic' in sys.modules)"
    )
    command = [sys.executable, "-P", "-c", code, str(tmp_path / "store.db")]
    assert subprocess.run(command, check=False).returncode == 0


def test_a_supervisor_that_stores_nothing_imports_no_database() -> None:
    code = "import sys, steersman.serving.supervising.supervisor; sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False).returncode == 0
