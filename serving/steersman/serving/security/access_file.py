"""The file of callers, which the supervisor reads, and reads again when it changes.

callers:
  - name: picking-robots
    role: decide # decide, operate or admin
    sha256: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
  - name: release-pipeline
    role: operate
    certificate: release.example.com # instead of a token, with mTLS: the certificate's common name or a SAN

YAML or JSON. It keeps no token, only hashes, yet tells who may do what: mode 0600 suits it.
"""

from __future__ import annotations

import asyncio
import logging
import stat
from collections.abc import Callable
from pathlib import Path

import yaml

from steersman.bundle.errors import UsageError
from steersman.bundle.validation import validated
from steersman.serving.rollout.yaml_text import UNREADABLE
from steersman.serving.security.access import AccessList

POLL_S = 1.0
log = logging.getLogger(__name__)
Stamp = tuple[int, int, int]
"""What changes when a file does: time of its last change in nanoseconds, inode, bytes."""


def read_access(path: Path) -> AccessList:
    """All who are known.

    Raises:
        UsageError: The file cannot be read, or is not a list of callers.
    """
    return parse_access(read_text(path), where=str(path))


def read_text(path: Path) -> str:
    """The file's text.

    Raises:
        UsageError: It cannot be read.
    """
    try:
        return path.read_text()
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError:
        raise UsageError("not UTF-8 text", where=str(path), expected="a list of callers") from None


def parse_access(text: str, *, where: str) -> AccessList:
    """All who are known, from YAML or JSON.

    Raises:
        UsageError: It is no list of callers. The message shows nothing that could be a token.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"{where}:{mark.line + 1}" if mark else where
        raise UsageError("not YAML", where=line, expected="a list of callers") from None
    except UNREADABLE:  # what it says may show a token
        raise UsageError("a value cannot be read", where=where, expected="a list of callers") from None
    _refuse_tokens(document, where)
    return validated(AccessList, document, where=where)


def _refuse_tokens(document: object, where: str) -> None:
    """A token that stands where its hash should must not get into a log as "got 'stm_...'"."""
    callers = document.get("callers") if isinstance(document, dict) else None
    for index, caller in enumerate(callers if isinstance(callers, list) else ()):
        digest = caller.get("sha256") if isinstance(caller, dict) else None
        if digest is not None and not (isinstance(digest, str) and len(digest) == 64):
            raise UsageError(
                "not the hash of a token",
                where=f"{where}: callers[{index}].sha256",
                expected="64 hexadecimal digits, in quotes if they are all decimal",
                hint="`steersman tokens new` makes a token and its entry.",
            )


class AccessFile:
    """The file of callers of a running server.

    Raises:
        UsageError: It cannot be read, or is not a list of callers.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = _stamp(path)
        self.access = read_access(path)
        """The last list that was right."""
        if path.stat().st_mode & stat.S_IROTH:
            log.warning("everybody on this host may read the callers", extra={"tokens": str(path)})

    def changed(self) -> bool:
        """Whether there is a new list. A broken or missing file changes nothing and is logged once."""
        stamp = _stamp(self._path)
        if stamp == self._seen:
            return False
        self._seen = stamp
        try:
            access = read_access(self._path)
        except UsageError as error:
            log.error("callers unchanged: their file is wrong", extra={"why": str(error)})  # noqa: TRY400
            return False
        changed, self.access = access != self.access, access
        return changed

    async def follow(self, tell: Callable[[AccessList], None]) -> None:
        """Looks at the file every second, and tells of each new list, until cancelled.

        Nothing else ends it, for then a caller that is taken out would stay in: a defect is logged, and a
        list that could not be told of is told of again.
        """
        told = True
        while True:
            await asyncio.sleep(POLL_S)
            try:
                if self.changed():
                    log.info("callers changed", extra={"callers": len(self.access.callers)})
                    told = False
                if not told:
                    tell(self.access)
                    told = True
            except Exception:
                log.exception("defect while looking at the callers")


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
