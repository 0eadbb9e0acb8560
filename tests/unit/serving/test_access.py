"""Who is known, by what, and what they may do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from steersman.serving.security.access import AccessList, Caller, Role, bearer_token, new_token, token_hash

ROLES = list(Role)


def known(name: str, token: str, role: Role = Role.DECIDE) -> Caller:
    """A caller with a token."""
    return Caller(name=name, role=role, sha256=token_hash(token))


@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_what_those_before_it_may(role: Role) -> None:
    caller = known("someone", "stm_a", role)
    assert [caller.may(needed) for needed in ROLES] == [
        ROLES.index(needed) <= ROLES.index(role) for needed in ROLES
    ]


def test_tokens_are_long_and_never_the_same() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(token.startswith("stm_") and len(token) == 4 + 43 for token in tokens)


def test_a_caller_is_found_by_its_token_and_by_nothing_else() -> None:
    first, second = new_token(), new_token()
    access = AccessList(callers=(known("first", first), known("second", second)))
    assert access.find(second.encode()) == access.callers[1]
    assert access.find(token_hash(second).encode()) is None
    assert access.find(b"") is None


@given(st.binary(max_size=100))
def test_no_other_token_is_known(token: bytes) -> None:
    assert AccessList(callers=(known("first", new_token()),)).find(token) is None


def test_a_certificate_is_known_by_its_names() -> None:
    robot = Caller(name="robot", role=Role.DECIDE, certificate="robot.example")
    access = AccessList(callers=(robot, Caller(name="ops", role=Role.ADMIN, certificate="ops.example")))
    assert access.knows_certificates
    assert access.find_certificate(["robot", "robot.example", "robot.example"]) == robot
    assert access.find_certificate(["robot"]) is None
    assert access.find_certificate(["robot.example", "ops.example"]) is None
    assert not AccessList().knows_certificates


@pytest.mark.parametrize(
    "callers",
    [
        [{"name": "a", "role": "decide"}],
        [{"name": "a", "role": "decide", "sha256": "0" * 64, "certificate": "a"}],
        [{"name": "a", "role": "decide", "sha256": "stm_a"}],
        [{"name": "a", "role": "root", "sha256": "0" * 64}],
        [{"name": "", "role": "decide", "sha256": "0" * 64}],
        [{"name": "a\nb", "role": "decide", "sha256": "0" * 64}],
        [{"name": "a", "role": "decide", "sha256": "0" * 64, "token": "stm_a"}],
        [{"name": "a", "role": "decide", "sha256": c * 64} for c in "01"],
        [{"name": name, "role": "decide", "sha256": "0" * 64} for name in "ab"],
        [{"name": name, "role": "decide", "certificate": "c"} for name in "ab"],
    ],
)
def test_a_list_that_is_wrong_or_ambiguous_is_refused(callers: list[dict[str, str]]) -> None:
    with pytest.raises(ValidationError):
        AccessList.model_validate({"callers": callers})


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer stm_a", b"stm_a"),
        ("bearer  stm_a", b"stm_a"),
        ("Basic stm_a", None),
        ("stm_a", None),
        ("Bearer ", None),
        ("Bearer stm_a, Bearer stm_b", None),
        ("Bearer stm_\u00e9", None),
        ("Bearer stm_a\n", None),
        ("", None),
    ],
)
def test_the_header_says_bearer_and_one_token(header: str, token: bytes | None) -> None:
    assert bearer_token(header) == token
