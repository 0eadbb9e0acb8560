"""`steersman act`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman.bundle.errors import UsageError
from steersman.cli.calling import (
    DEFAULT_TARGET,
    AsJson,
    Target,
    Timeout,
    calling,
    number_text,
    print_facts,
    print_json,
    print_table,
    security_of,
)
from steersman.cli.control_calls import Ca, Certificate, Key, OldServer, TokenFile

if TYPE_CHECKING:
    from steersman.client import (
        Action,
        ActionSpec,
        Decision,
        Decisions,
        Intervention,
        PolicyDescription,
        RowError,
    )

EVIDENCE = ("value", "entropy", "distribution")


class Mode(StrEnum):
    """How the action is taken."""

    GREEDY = "greedy"
    SAMPLED = "sampled"


def act(
    policy: Annotated[str, typer.Argument(help="Name of the policy.")],
    observation: Annotated[
        str,
        typer.Option(
            "--observation",
            "-o",
            help="Observation as JSON: a list, an object for Dict spaces, one more level of lists for "
            "several rows. NaN and Infinity are understood. - reads it from standard input.",
        ),
    ],
    *,
    mask: Annotated[
        str | None, typer.Option(help="Action mask as JSON, true where the choice is allowed.")
    ] = None,
    mode: Annotated[Mode, typer.Option(help="Most probable action, or one drawn.")] = Mode.GREEDY,
    episode_id: Annotated[
        list[str] | None, typer.Option(help="Name of the episode; repeat it, once per row.")
    ] = None,
    version: Annotated[
        int | None, typer.Option(min=1, help="Ask this version, whatever the routing says.")
    ] = None,
    evidence: Annotated[str, typer.Option(help=f"Also print any of {','.join(EVIDENCE)}.")] = "",
    target: Target = DEFAULT_TARGET,
    old_target: OldServer = "",
    token_file: TokenFile = None,
    ca: Ca = None,
    certificate: Certificate = None,
    key: Key = None,
    timeout: Timeout = 5.0,
    as_json: AsJson = False,
) -> None:
    """Ask a running server what a policy would do.

    Exit status 1 when the call or one of its rows failed, 2 when an option is malformed.

    Example: steersman act cartpole --observation '[0.1, 0, 0.02, 0]' --mask '[1, 0]'
    """
    rows = _read_json("--observation", sys.stdin.read() if observation == "-" else observation)
    masks = None if mask is None else _read_json("--mask", mask)
    asked: dict[str, Any] = {"mode": mode.value, "version": version, "evidence": _read_evidence(evidence)}
    with calling(old_target or target, timeout, security_of(token_file, ca, certificate, key)) as client:
        description = client.describe(policy)
        if _is_batch(rows, description):
            decisions = client.act_batch(policy, rows, action_masks=masks, episode_ids=episode_id, **asked)
            _print_batch(decisions, description, as_json=as_json)
            raise typer.Exit(1 if decisions.errors else 0)
        one_id = _only_one(episode_id)
        decision = client.act(policy, rows, action_mask=masks, episode_id=one_id, **asked)
        if as_json:
            print_json(decision)
        else:
            print_facts(_facts(decision, description.action))


def _read_json(option: str, text: str) -> Any:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        example = "'[true, false]'" if option == "--mask" else "'[0.1, 0, 0.02, 0]'"
        message = f"{text.strip()[:60]!r} is not JSON ({error.msg} at character {error.pos})"
        raise UsageError(message, where=option, expected=f"something like {example}") from error
    if value is None or isinstance(value, str):
        raise UsageError(f"{text.strip()[:60]} has no numbers", where=option, expected="a list or an object")
    return value


def _read_evidence(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in EVIDENCE]
    if unknown:
        expected = f"any of {', '.join(EVIDENCE)}, separated by commas"
        raise UsageError(f"{', '.join(unknown)} is unknown", where="--evidence", expected=expected)
    return names


def _only_one(episode_ids: list[str] | None) -> str | None:
    if episode_ids and len(episode_ids) > 1:
        raise UsageError(
            f"{len(episode_ids)} names for one observation", where="--episode-id", expected="one"
        )
    return episode_ids[0] if episode_ids else None


def _is_batch(value: Any, description: PolicyDescription) -> bool:
    """Whether the observation is nested one level deeper than one row is."""
    spec = description.observations[0]
    if isinstance(value, dict):
        value = value.get(spec.key)
    return _depth(value) == len(spec.shape) + 1


def _depth(value: Any) -> int:
    depth = 0
    while isinstance(value, list):
        depth += 1
        value = value[0] if value else None
    return depth


def _facts(decision: Decision, spec: ActionSpec) -> Iterator[tuple[str, object]]:
    yield "action", _action_text(decision.action, spec)
    yield "source", decision.source.value
    for name in ("reason", "version", "lane"):
        if getattr(decision, name):
            yield name, getattr(decision, name)
    yield "decision id", decision.decision_id.hex()
    for name in ("log_prob", "propensity", "value", "entropy"):
        if getattr(decision, name) is not None:
            yield name.replace("_", " "), number_text(getattr(decision, name))
    if decision.distribution is not None:
        yield "distribution", _numbers(decision.distribution)
    for item in decision.interventions:
        yield "changed by", _intervention_text(item, spec)


def _intervention_text(item: Intervention, spec: ActionSpec) -> str:
    """Such as "fallback lean (action_masked): 11 (stay) -> 12 (right)"."""
    actions = [_action_text(action, spec) for action in (item.before, item.after) if action is not None]
    who = f"{item.layer} {item.name}".rstrip()
    return f"{who} ({item.reason})" + (f": {' -> '.join(actions)}" if actions else "")


def _action_text(action: Action, spec: ActionSpec) -> str:
    if not isinstance(action, int):
        if action.ndim or action.dtype.kind not in "iu":
            return _numbers(action)
        action = int(action)
    choice = action - spec.start
    return f"{action} ({spec.names[choice]})" if 0 <= choice < len(spec.names) else str(action)


def _numbers(array: Any) -> str:
    return json.dumps(array.tolist()) if array.dtype.kind != "f" else _floats(array.tolist())


def _floats(value: Any) -> str:
    return f"[{', '.join(map(_floats, value))}]" if isinstance(value, list) else number_text(value)


def _print_batch(decisions: Decisions, description: PolicyDescription, *, as_json: bool) -> None:
    failed = {error.row: error for error in decisions.errors}
    if as_json:
        rows = [None if row in failed else decisions[row] for row in range(len(decisions))]
        print_json({"decisions": rows, "errors": decisions.errors})
        return
    cells = [
        _failed_cells(failed[row]) if row in failed else _cells(row, decisions, description)
        for row in range(len(decisions))
    ]
    print_table([("row", "action", "source", "reason", "version", "lane", "decision id"), *cells])
    for error in decisions.errors:
        typer.echo(f"row {error.row}: {error.message}", err=True)


def _cells(row: int, decisions: Decisions, description: PolicyDescription) -> tuple[str, ...]:
    decision = decisions[row]
    action = _action_text(decision.action, description.action)
    route = (str(decision.version), decision.lane, decision.decision_id.hex())
    return (str(row), action, decision.source.value, decision.reason or "-", *route)


def _failed_cells(error: RowError) -> tuple[str, ...]:
    return (str(error.row), "-", "none", error.reason, "-", "-", "-")
