"""What tests of every kind share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.postgres import Postgres, running_postgres


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`-k "not postgres"` leaves out what needs one."""
    for item in items:
        if isinstance(item, pytest.Function) and "postgres" in item.fixturenames:
            item.extra_keyword_matches.add("postgres")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL for the tests that ask for one; each makes a database of its own in it."""
    with running_postgres() as server:
        yield server
