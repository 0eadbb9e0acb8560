"""`steersman tokens`: a token is shown once and never kept; the file around the change stays as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steersman.bundle.errors import UsageError
from steersman.serving.security.access import Caller, Role, token_hash
from steersman.serving.security.access_edits import add_caller, revoke_caller
from steersman.serving.security.access_file import read_access
from unit.cli.conftest import Steersman

HASHES = [token_hash(letter) for letter in "abc"]
COMMENTED = f"""\
# Our callers.
callers:
    # The robots in hall 2.
    - role: decide
      name: robots # all of them
      sha256: {HASHES[0]}

    # Ops.
    - name: ops
      role: admin
      sha256: '{HASHES[1]}'
# The end.
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.yaml"


@pytest.fixture(autouse=True)
def _no_file_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEERSMAN_TOKENS", raising=False)


def test_a_token_is_printed_once_and_only_its_hash_kept(steersman: Steersman, file: Path) -> None:
    done = steersman("tokens", "new", "--name", "robots", "--role", "operate", "--file", str(file))
    (token,) = done.out.splitlines()
    assert (done.status, done.err) == (0, "")
    assert token.startswith("stm_")
    assert token not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    access = read_access(file)
    assert access.find(token.encode()) == access.callers[0]
    assert (access.callers[0].name, access.callers[0].role) == ("robots", Role.OPERATE)


def test_without_a_file_the_entry_is_shown_beside_the_token(steersman: Steersman) -> None:
    done = steersman("tokens", "new", "--name", "robots")
    (token,) = done.out.splitlines()
    assert done.err.splitlines() == [
        "- name: robots",
        "  role: decide",
        f"  sha256: {token_hash(token)}",
    ]


def test_json_has_the_token_and_its_hash(steersman: Steersman, file: Path) -> None:
    made = steersman("tokens", "new", "--name", "robots", "--file", str(file), "--json").json
    assert made == {
        "name": "robots",
        "role": "decide",
        "sha256": token_hash(made["token"]),
        "token": made["token"],
    }


def test_the_list_shows_no_whole_hash(
    steersman: Steersman, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text(COMMENTED + "    - {name: ci, role: operate, certificate: ci.example}\n")
    monkeypatch.setenv("STEERSMAN_TOKENS", str(file))
    assert steersman("tokens", "list").out.splitlines() == [
        "name    role     known by",
        f"robots  decide   token {HASHES[0][:12]}...",
        f"ops     admin    token {HASHES[1][:12]}...",
        "ci      operate  certificate ci.example",
    ]
    assert [entry["name"] for entry in steersman("tokens", "list", "--json").json] == ["robots", "ops", "ci"]


def test_an_empty_list_says_what_that_means(steersman: Steersman, file: Path) -> None:
    file.write_text("callers: []\n")
    assert "refuses everybody" in steersman("tokens", "list", "--file", str(file)).out


def test_adding_and_revoking_leaves_comments_and_layout(steersman: Steersman, file: Path) -> None:
    file.write_text(COMMENTED)
    steersman("tokens", "new", "--name", "ci", "--file", str(file))
    assert file.read_text().startswith(COMMENTED)
    assert [caller.name for caller in read_access(file).callers] == ["robots", "ops", "ci"]
    done = steersman("tokens", "revoke", "ci", "--file", str(file))
    assert (done.status, done.out, file.read_text()) == (0, "", COMMENTED)
    assert "written anew" not in done.err
    steersman("tokens", "revoke", "robots", "--file", str(file))
    kept = [line for line in COMMENTED.splitlines() if line not in COMMENTED.splitlines()[3:6]]
    assert file.read_text().splitlines() == kept


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        (f"callers: [{{name: ops, role: admin, sha256: '{HASHES[0]}'}}]\n", False),
        (f"callers: [{{name: ops, role: admin, sha256: '{HASHES[0]}'}}] # ours\n", True),
        ("callers: []\n", False),
        (json.dumps({"callers": [{"name": "ops", "role": "admin", "sha256": HASHES[0]}]}), False),
    ],
)
def test_what_cannot_be_edited_in_place_is_written_anew_and_said_so(
    steersman: Steersman, file: Path, text: str, lost: bool
) -> None:
    file.write_text(text)
    before = read_access(file).callers
    done = steersman("tokens", "new", "--name", "ci", "--file", str(file))
    after = read_access(file).callers
    assert (after[:-1], after[-1].name) == (before, "ci")
    assert ("comments in it are lost" in done.err) is lost
    assert text.startswith("{") is file.read_text().startswith("{")


def test_revoking_the_last_one_leaves_nobody(steersman: Steersman, file: Path) -> None:
    steersman("tokens", "new", "--name", "robots", "--file", str(file))
    assert steersman("tokens", "revoke", "robots", "--file", str(file)).status == 0
    assert read_access(file).callers == ()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("new", "--name", "ops"), "there is a caller 'ops'"),
        (("new", "--name", ""), "tokens new: name"),
        (("new", "--name", "a", "--role", "root"), "--role"),
        (("revoke", "opps"), "there is no caller 'opps'. Did you mean ops?"),
    ],
)
def test_wrong_use_changes_nothing(
    steersman: Steersman, file: Path, words: tuple[str, ...], said: str
) -> None:
    file.write_text(COMMENTED)
    done = steersman("tokens", *words, "--file", str(file))
    assert (done.status, done.out, file.read_text()) == (2, "", COMMENTED)
    assert said in done.err


@pytest.mark.parametrize("words", [("list",), ("revoke", "a")])
def test_a_file_that_is_not_there_is_said(steersman: Steersman, file: Path, words: tuple[str, ...]) -> None:
    done = steersman("tokens", *words, "--file", str(file))
    assert done.status == 2
    assert "No such file" in done.err


def test_a_link_stays_a_link_and_a_failed_write_leaves_no_rest(tmp_path: Path, steersman: Steersman) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "tokens.yaml", tmp_path / "tokens.yaml"
    real.write_text(COMMENTED)
    link.symlink_to(real)
    assert steersman("tokens", "revoke", "ops", "--file", str(link)).status == 0
    assert link.is_symlink()
    assert [caller.name for caller in read_access(real).callers] == ["robots"]
    assert [path.name for path in real.parent.iterdir()] == ["tokens.yaml"]


NAME = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.@/ -]{0,20}", fullmatch=True)
NAMES = st.lists(NAME, min_size=1, max_size=6, unique=True)


@settings(deadline=None)
@given(names=NAMES, data=st.data())
def test_any_names_can_be_added_and_revoked_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], data: st.DataObject
) -> None:
    file = tmp_path_factory.mktemp("tokens") / "tokens.yaml"
    callers = [Caller(name=name, role=Role.DECIDE, sha256=token_hash(name)) for name in names]
    for caller in callers:
        add_caller(file, caller)
    assert list(read_access(file).callers) == callers
    for name in data.draw(st.permutations(names)):
        revoke_caller(file, name)
        callers = [caller for caller in callers if caller.name != name]
        assert list(read_access(file).callers) == callers
    with pytest.raises(UsageError):
        revoke_caller(file, names[0])
