"""The keyring that replicas share: what it shows of itself, which is nothing, and the salt in it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from steersman.serving.messages import TO_WORKER, Start
from steersman.serving.rollout.keyring import Keyring
from steersman.serving.settings import ServerSettings
from steersman.serving.state import load_keyring
from steersman.serving.supervising.launching import read_secrets

KEYS = {1: "11" * 32, 2: "22" * 32}
SALT = "5a" * 32


def test_a_keyring_does_not_print_its_keys() -> None:
    ring = Keyring(current=1, keys=KEYS, salt=SALT)
    assert KEYS[1] not in repr(ring)
    assert SALT not in repr(ring)


def test_what_a_worker_is_told_shows_no_secrets() -> None:
    told: dict[str, Any] = {"salt": SALT, "keyring": Keyring(current=1, keys=KEYS, salt=SALT)}
    assert SALT not in repr(Start.model_construct(**told))
    text = json.dumps({"type": "start", "salt": [SALT], "keyring": {"current": 1, "keys": {"1": SALT + "!"}}})
    with pytest.raises(ValidationError) as caught:
        TO_WORKER.validate_json(text)
    assert "5a5a" not in str(caught.value)


@pytest.mark.parametrize(
    "fields", [{"keys": {"1": "e" * 60 + "f00d"}}, {"salt": "e" * 60 + "f00d"}, {"current": 7}]
)
def test_a_wrong_keyring_does_not_show_what_is_in_it(fields: dict[str, Any]) -> None:
    text = json.dumps({"current": 1, "keys": KEYS, "salt": SALT, **fields})
    with pytest.raises(ValidationError) as caught:
        Keyring.model_validate_json(text.replace("f00d", "f00d!"))
    assert "f00d" not in str(caught.value)
    assert SALT[-8:] not in str(caught.value)


def test_a_new_keyring_has_a_salt_which_stays_when_a_key_is_added(tmp_path: Path) -> None:
    """Replicas share it with the file; with another one, a call that is repeated is decided anew."""
    file = tmp_path / "keyring.json"
    made = load_keyring(file)
    assert len(made.salt) == 64
    assert load_keyring(file) == made
    document = json.loads(file.read_text())
    file.write_text(json.dumps({**document, "current": 2, "keys": {**document["keys"], "2": KEYS[2]}}))
    assert load_keyring(file).salt == made.salt


def test_replicas_with_one_keyring_have_one_salt_and_others_their_own(tmp_path: Path) -> None:
    def salts(keyring: Path) -> list[bytes]:
        """Of two replicas."""
        states = [tmp_path / name for name in "ab"]
        return [
            read_secrets(ServerSettings(repository=tmp_path, state_dir=state, keyring=keyring)).salt
            for state in states
        ]

    first, second = salts(tmp_path / "new.json")
    assert first == second
    old = tmp_path / "old.json"
    old.write_text(json.dumps({"current": 1, "keys": {"1": KEYS[1]}}))
    first, second = salts(old)
    assert first != second
    assert first == (tmp_path / "a" / "salt").read_bytes()


def test_a_keyring_that_everybody_may_read_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keyring.json"
    load_keyring(file)
    assert not caplog.records
    file.chmod(0o644)
    load_keyring(file)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
