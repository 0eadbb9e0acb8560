from __future__ import annotations

import pytest

from support.toy_server import POLICIES
from unit.cli.conftest import Steersman


def test_all_policies_are_listed_with_their_versions(steersman: Steersman) -> None:
    done = steersman("policies")
    assert done.status == 0
    header, *rows = (line.split() for line in done.out.splitlines())
    assert header == ["policy", "version", "state", "variant", "lanes", "labels", "created", "detail"]
    assert [row[:4] for row in rows] == [
        ["arm", "7", "ready", "int8"],
        ["gate", "7", "ready", "int8"],
        ["gate", "6", "failed", "-"],
        ["memory", "7", "ready", "int8"],
    ]
    assert rows[0][4:] == ["stable", "champion", "2023-11-14T22:13:20Z", "-"]
    assert rows[2][4:] == ["-", "-", "-", "its", "certificate", "does", "not", "hold"]


def test_one_policy_is_described(steersman: Steersman) -> None:
    facts = steersman("policies", "gate").facts
    assert facts["policy"] == "gate"
    assert (facts["algorithm"], facts["environment"]) == ("PPO", "Gate-v0")
    assert facts["observation"] == "float32 [4]: a, b, c, d"
    assert facts["action"] == "discrete int64 [], choices [3] from 10: left, stay, right"
    assert facts["action mask"] == "3 entries (3)"
    assert (facts["modes"], facts["recurrent"]) == ("greedy, sampled", "no")
    assert facts["distribution"] == "categorical"
    arm = steersman("policies", "arm").facts
    assert (arm["observation['pose']"], arm["observation['gear']"]) == ("float32 [2]", "int64 []")
    assert "action mask" not in arm


def test_json(steersman: Steersman) -> None:
    assert [summary["policy"] for summary in steersman("policies", "--json").json] == [
        "arm",
        "gate",
        "memory",
    ]
    gate = steersman("policies", "gate", "--json").json
    assert gate["observations"][0]["dtype"] == "float32"
    assert gate["observations"][0]["low"] == [None]  # unbounded
    assert gate["versions"][0]["created"] == "2023-11-14T22:13:20.000001+00:00"
    assert gate["action"]["kind"] == "discrete"
    assert (gate["distribution"], gate["contract_digest"]) == ("categorical", "cd" * 32)


def test_a_server_without_policies_says_so(
    steersman: Steersman, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in tuple(POLICIES):
        monkeypatch.delitem(POLICIES, name)
    done = steersman("policies")
    assert (done.status, done.out) == (0, f"the server at {target} has no policies\n")


def test_an_unknown_policy_is_one_line(steersman: Steersman) -> None:
    done = steersman("policies", "gat")
    assert (done.status, done.out) == (1, "")
    assert done.err == "steersman: there is no policy 'gat'. `steersman policies` lists what there is.\n"
