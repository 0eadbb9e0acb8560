"""A real PostgreSQL of one's own: made in a temporary folder, reached by a Unix socket, gone afterwards."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import sqlalchemy as sa

USER = "steersman"
PASSWORD = "hunter2@/:%?#x"
"""Every sign that a URL has to escape."""
SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "50",
}


class Postgres:
    """A database server that can be stopped and started again.

    Args:
        folder: An empty folder of the user that it runs as.
        user: That user; None for who runs the tests. PostgreSQL refuses to run as root.
    """

    def __init__(self, folder: Path, user: str | None) -> None:
        self.folder = folder
        self._user = user
        self._programs = find_programs()
        self._numbers = itertools.count(1)

    def make(self) -> None:
        """Makes the cluster; connections need the password."""
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        how = ("--username", USER, "--pwfile", str(secret), "--auth", "scram-sha-256")
        self._run("initdb", "--no-sync", "--no-locale", "--encoding", "UTF8", *how)
        secret.unlink()

    def start(self) -> None:
        """Starts, and waits until it answers."""
        settings = {**SETTINGS, "unix_socket_directories": str(self.folder)}
        options = " ".join(f"-c {name}={value or chr(39) * 2}" for name, value in settings.items())
        self._run(
            "pg_ctl", "--wait", "--silent", "--log", str(self.folder / "log"), "--options", options, "start"
        )

    def stop(self) -> None:
        """Stops at once, as in a failure: connections end, transactions are rolled back."""
        self._run("pg_ctl", "--wait", "--silent", "--mode", "immediate", "stop")

    @property
    def running(self) -> bool:
        """Whether it has been started and not stopped."""
        return (self.folder / "data" / "postmaster.pid").exists()

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"store{next(self._numbers)}"
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")  # type: ignore[call-overload]
        return self.url(name)

    def url(self, database: str) -> str:
        """The URL of a database, with the password."""
        place = {"host": str(self.folder), "port": "5432"}
        url = sa.URL.create("postgresql", USER, PASSWORD, database=database, query=place)
        return url.render_as_string(hide_password=False)

    def _conninfo(self, database: str) -> str:
        return psycopg.conninfo.make_conninfo(
            host=str(self.folder), user=USER, password=PASSWORD, dbname=database
        )

    def _run(self, program: str, *options: str) -> None:
        environment = {"PATH": os.environ["PATH"], "PGDATA": str(self.folder / "data"), "LC_ALL": "C"}
        done = subprocess.run(
            [self._programs / program, *options],
            env=environment,
            cwd=self.folder,
            user=self._user,
            group=None if self._user is None else pwd.getpwnam(self._user).pw_gid,
            extra_groups=None if self._user is None else [],
            # A file, for the server inherits it and a pipe would not end.
            stdout=(output := (self.folder / "output").open("w+")),
            stderr=output,
            check=False,
        )
        with output:
            output.seek(0)
            assert done.returncode == 0, f"{program}: {output.read()}"


def find_programs() -> Path:
    """The folder of `initdb` and `pg_ctl`; Debian keeps them off the path.

    Raises:
        AssertionError: PostgreSQL is not installed.
    """
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    found = shutil.which("initdb", path=os.pathsep.join(map(str, reversed(folders)))) or shutil.which(
        "initdb"
    )
    assert found, (
        "PostgreSQL's initdb is missing. Debian, Ubuntu: apt-get install postgresql; macOS: brew install "
        "postgresql; without it: make test ARGS='-k \"not postgres\"'"
    )
    return Path(found).resolve().parent


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A database server that answers; it is stopped and removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="steersman-pg-"))
    user = None
    if os.geteuid() == 0:
        user = next(name for name in ("postgres", "nobody") if name in {p.pw_name for p in pwd.getpwall()})
        shutil.chown(folder, user)
    server = Postgres(folder, user)
    try:
        server.make()
        server.start()
        yield server
    finally:
        if server.running:
            server.stop()
        shutil.rmtree(folder)
