"""The store on SQLite and PostgreSQL: what it keeps, who wins of two at once, stores of other releases."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from steersman.bundle.errors import UsageError
from steersman.serving.rollout.database import open_engine
from steersman.serving.rollout.deployment import Deployment
from steersman.serving.rollout.errors import RevisionConflictError, StoreError
from steersman.serving.rollout.journal import Change, Entry, Mark, Stored
from steersman.serving.rollout.schema import bring_up_to_date, migrate
from steersman.serving.rollout.state import DeploymentState
from steersman.serving.rollout.store import Store, sqlite_url
from steersman.serving.rollout.tables import REVISION, metadata
from support.postgres import Postgres

Open = Callable[[], Store]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "store.db")
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
def opened(url: str) -> Iterator[Open]:
    """Opens the store, as another server would."""
    with contextlib.ExitStack() as stores:
        yield lambda: stores.enter_context(contextlib.closing(Store(url)))


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    """A way to the database past the store."""
    engine = open_engine(url)
    yield engine
    engine.dispose()


def change(revision: int, version: int = 1, policy: str = "toy") -> Change:
    deployment = Deployment.model_validate({"policy": policy, "lanes": {"stable": {"version": version}}})
    state = DeploymentState(deployment=deployment, revision=revision, rollout_id="r1", epoch=2)
    return Change(state, "apply", "ann", "why not", ("stable: version 1 -> 2",), 10**18 + revision)


def test_what_was_saved_is_there_for_the_next_server(opened: Open) -> None:
    opened().save(change(1), "ab" * 32)
    opened().save(change(2, version=2))
    assert opened().states() == {"toy": Stored(change(2, version=2).state, "ab" * 32)}


def test_marks_tell_what_has_changed(opened: Open) -> None:
    store = opened()
    assert store.marks() == {}
    store.save(change(1))
    store.save(change(1, policy="other"))
    store.save(change(2))
    assert store.marks() == {"toy": Mark(2, "r1", 2), "other": Mark(1, "r1", 2)}
    assert store.marks()["toy"] == Mark.of(store.states()["toy"].state)


def test_the_last_cut_is_remembered(opened: Open) -> None:
    store = opened()
    store.save(change(1))
    store.save(replace(change(2), cuts=True))
    store.save(change(3))
    stored = store.states()["toy"]
    assert stored.cut_revision == 2
    assert [stored.cuts_since(known) for known in (None, change(1).state, change(2).state)] == [
        False,
        True,
        False,
    ]


def test_the_history_has_who_and_why_newest_first(opened: Open) -> None:
    store = opened()
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


def test_texts_of_the_greatest_size_and_of_every_script_come_back(opened: Open) -> None:
    store = opened()
    wordy = replace(
        change(1, policy="p" * 63), actor="\U0001f6f0" * 32, reason="\u0436\\'\"%s:x" * 60, lines=("\0",)
    )
    store.save(wordy, "f" * 64)
    (entry,) = store.entries()
    assert (entry.actor, entry.reason, entry.changes) == (wordy.actor, wordy.reason, wordy.lines)


@pytest.mark.parametrize("revision", [1, 2, 4])
def test_of_two_changes_from_the_same_revision_one_fails_as_a_whole(opened: Open, revision: int) -> None:
    store, other = opened(), opened()
    store.save(change(1))
    store.save(change(2))
    with pytest.raises(RevisionConflictError):
        other.save(change(revision, version=9))
    assert store.states()["toy"].state == change(2).state
    assert len(store.entries()) == 2


@pytest.mark.parametrize("revision", [1, 2])
def test_of_many_changes_at_once_one_is_made(opened: Open, revision: int) -> None:
    stores = [opened() for _ in range(8)]
    for made in range(1, revision):
        stores[0].save(change(made))
    together = threading.Barrier(len(stores))

    def save(number: int) -> bool:
        together.wait()
        try:
            stores[number].save(change(revision, version=number + 1))
        except RevisionConflictError:
            return False
        return True

    with ThreadPoolExecutor(len(stores)) as threads:
        won = list(threads.map(save, range(len(stores))))
    assert won.count(True) == 1
    stored = stores[0].states()["toy"].state
    assert stored == change(revision, version=won.index(True) + 1).state
    assert len(stores[0].entries()) == revision


def test_servers_that_start_together_make_the_tables_once(url: str) -> None:
    together = threading.Barrier(6)

    def open_it(_: int) -> None:
        together.wait()
        Store(url).close()

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(open_it, range(6)))


def test_a_seed_is_remembered_without_a_change(opened: Open) -> None:
    store = opened()
    store.save(change(1))
    store.note_seed("toy", "cd" * 32)
    assert store.states()["toy"].seed_digest == "cd" * 32
    assert len(store.entries()) == 1


def test_the_migrations_lead_to_the_tables(engine: sa.Engine, opened: Open) -> None:
    with engine.begin() as connection:
        migrate(connection, None)
    check_tables(engine)
    opened().save(change(1))
    opened().save(change(2))


def test_new_tables_are_marked_as_alembic_marks_them(engine: sa.Engine) -> None:
    bring_up_to_date(engine)
    check_tables(engine)


def check_tables(engine: sa.Engine) -> None:
    """They are what the code thinks they are."""
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_server_default": True, "compare_type": True}
        )
        assert context.get_current_revision() == REVISION
        assert compare_metadata(context, metadata) == []


def test_a_store_of_the_first_release_is_brought_up_to_date(engine: sa.Engine, opened: Open) -> None:
    with engine.begin() as connection:
        migrate(connection, None, to="0001")
        columns = "policy, revision, rollout_id, epoch, document, seed_digest"
        connection.execute(
            sa.text(f"INSERT INTO deployments ({columns}) VALUES ('toy', 1, 'r1', 2, :document, '')"),
            {"document": change(1).state.document},
        )
    assert opened().states() == {"toy": Stored(change(1).state, "")}
    check_tables(engine)
    opened().save(change(2))


def test_a_store_of_a_later_release_is_left_alone(engine: sa.Engine, opened: Open) -> None:
    opened()
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="schema '9999'"):
        opened()


def test_a_document_that_is_not_understood_is_an_error_and_not_a_default(
    engine: sa.Engine, opened: Open
) -> None:
    opened().save(change(1))
    with engine.begin() as connection:
        connection.execute(sa.text("""UPDATE deployments SET document = '{"policy": "toy", "later": 1}'"""))
    with pytest.raises(StoreError, match="later: unknown field"):
        opened().states()
    assert len(opened().entries()) == 1


def test_a_file_that_is_no_database_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match="cannot be used"):
        Store(sqlite_url(tmp_path / "store.db"))


@pytest.mark.parametrize("wrong", ["nonsense", "oracle9://host/db", "sqlite+nodriver:///x"])
def test_a_url_that_cannot_be_used_is_said_in_a_line(wrong: str) -> None:
    with pytest.raises(UsageError, match="expected a URL of SQLAlchemy"):
        Store(wrong)


def test_a_store_that_is_locked_by_another_is_an_error_after_a_while(
    engine: sa.Engine, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steersman.serving.rollout.database.LOCKED_S", 0.05)
    store = opened()
    store.save(change(1))
    with engine.connect() as other:
        other.execute(sa.text("UPDATE deployments SET epoch = 7"))
        with pytest.raises(StoreError, match="lock"):
            store.save(change(2))
        other.rollback()
    store.save(change(2))


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
