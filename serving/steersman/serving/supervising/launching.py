"""What a server needs before anything is started: secrets and trust out of files, what workers are told."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from steersman.bundle.signature import Trust
from steersman.monitoring.counters import Segment
from steersman.serving.limits import Limits
from steersman.serving.loading.trust import read_trust
from steersman.serving.messages import Start, TlsFiles, TransportKind
from steersman.serving.rollout.keyring import Keyring
from steersman.serving.rollout.snapshot import RoutingSnapshot
from steersman.serving.security.access import AccessList
from steersman.serving.security.access_file import AccessFile
from steersman.serving.security.tls_files import read_tls
from steersman.serving.settings import ServerSettings
from steersman.serving.state import (
    KEYRING_FILE,
    load_keyring,
    load_salt,
    prepare_ready_file,
    prepare_state_dir,
)
from steersman.serving.supervising.fleet import Care

NATIVE_WORKER_BYTES = 2 * 1024**3
"""Memory of a worker whose transport cannot refuse a message before it is there, unless another is said."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What is never written to a log, and who is trusted.

    Attributes:
        salt: What noise and keyed ids are made from: the keyring's, or else the state folder's own.
        keyring: What episode tokens are signed with.
        trust: Whose signatures bundles need.
        tls: Files of the listeners; None for plain text.
        callers: Who may call; None for everybody.
    """

    salt: bytes = field(repr=False)
    keyring: Keyring = field(repr=False)
    trust: Trust
    tls: TlsFiles | None
    callers: AccessFile | None

    @property
    def access(self) -> AccessList | None:
        """Who may call now."""
        return self.callers.access if self.callers is not None else None


def read_secrets(settings: ServerSettings) -> Secrets:
    """Everything that can be wrong with files is found here, before anything is started.

    Raises:
        ServingError: The state folder cannot be used.
        UsageError: A file is wrong.
    """
    trust = read_trust(settings)
    tls = read_tls(settings)
    callers = AccessFile(settings.tokens) if settings.tokens is not None else None
    state = prepare_state_dir(settings.state_dir)
    if settings.ready_file is not None:
        prepare_ready_file(settings.ready_file)
    keyring = load_keyring(settings.keyring or state / KEYRING_FILE)
    salt = bytes.fromhex(keyring.salt) or load_salt(state)
    return Secrets(salt, keyring, trust, tls, callers)


def care_of(settings: ServerSettings, transport: TransportKind) -> Care:
    """How the workers are looked after that have such a transport."""
    unsaid = NATIVE_WORKER_BYTES if transport == "native" else 0
    return Care(
        workers=settings.workers,
        start_timeout_s=settings.start_timeout_s,
        hang_timeout_s=settings.hang_timeout_s,
        max_bytes=unsaid if settings.max_worker_bytes is None else settings.max_worker_bytes,
        lame_duck_s=settings.lame_duck_s,
        grace_s=settings.grace_s,
    )


def start_message(
    settings: ServerSettings,
    secrets: Secrets,
    snapshot: RoutingSnapshot,
    segment: Segment,
    port: int,
    *,
    transport: TransportKind,
) -> Start:
    """What every worker is started with, but for its slot."""
    return Start(
        slot=0,
        segment=str(segment.path),
        host=settings.host,
        port=port,
        transport=transport,
        limits=Limits(
            max_rows=settings.max_rows,
            max_message_bytes=settings.max_message_bytes,
            max_calls=settings.max_calls,
            max_bytes_in_flight=settings.max_bytes_in_flight,
            max_waiting_rows=settings.max_waiting_rows,
            max_stream_calls=settings.max_stream_calls,
            max_stream_episodes=settings.max_stream_episodes,
        ),
        salt=secrets.salt.hex(),
        keyring=secrets.keyring,
        episode_ttl_s=settings.episode_ttl_s,
        cache=str(settings.state_dir),
        tls=secrets.tls,
        access=secrets.access,
        log_level=settings.log_level,
        log_json=not sys.stderr.isatty(),
        trust=secrets.trust,
        entry_points=settings.allow_entry_points,
        snapshot=snapshot,
    )
