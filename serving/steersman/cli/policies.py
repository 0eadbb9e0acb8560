"""`steersman policies`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from steersman.cli.calling import (
    DEFAULT_TARGET,
    AsJson,
    Target,
    Timeout,
    calling,
    print_facts,
    print_json,
    print_table,
    security_of,
)
from steersman.cli.control_calls import Ca, Certificate, Key, OldServer, TokenFile

if TYPE_CHECKING:
    from steersman.client import ActionSpec, ObservationSpec, PolicyDescription, PolicySummary, PolicyVersion

VERSION_COLUMNS = ("version", "state", "variant", "lanes", "labels", "created", "detail")
FEATURES_SHOWN = 16


def policies(
    name: Annotated[str | None, typer.Argument(help="Describe this policy; without it, list all.")] = None,
    *,
    target: Target = DEFAULT_TARGET,
    old_target: OldServer = "",
    token_file: TokenFile = None,
    ca: Ca = None,
    certificate: Certificate = None,
    key: Key = None,
    timeout: Timeout = 5.0,
    as_json: AsJson = False,
) -> None:
    """List the policies of a running server, or describe one.

    Example: steersman policies cartpole
    """
    target = old_target or target
    with calling(target, timeout, security_of(token_file, ca, certificate, key)) as client:
        value: Any = client.policies() if name is None else client.describe(name)
    if as_json:
        print_json(value)
    elif name is None:
        _print_list(value, target)
    else:
        _print_description(value)


def _print_list(summaries: Sequence[PolicySummary], target: str) -> None:
    if not summaries:
        typer.echo(f"the server at {target} has no policies")
        return
    rows = [(summary.policy, *_cells(v)) for summary in summaries for v in summary.versions]
    print_table([("policy", *VERSION_COLUMNS), *rows])


def _print_description(description: PolicyDescription) -> None:
    print_facts(_facts(description))
    if description.versions:
        typer.echo()
        print_table([VERSION_COLUMNS, *map(_cells, description.versions)])


def _facts(description: PolicyDescription) -> Iterator[tuple[str, str]]:
    yield "policy", description.policy
    if description.algorithm:
        yield "algorithm", description.algorithm
    if description.environment:
        yield "environment", description.environment
    for spec in description.observations:
        yield spec.label, _observation_text(spec)
    yield "action", _action_text(description.action)
    if description.mask_segments:
        yield (
            "action mask",
            f"{description.mask_width} entries ({' + '.join(map(str, description.mask_segments))})",
        )
    if description.distribution != "unknown":
        yield "distribution", description.distribution.value
    yield "modes", ", ".join(description.modes)
    yield "recurrent", "yes" if description.recurrent else "no"
    for wrapper in description.wrappers:
        yield "caller applies", f"{wrapper.name}: {wrapper.instruction}"


def _observation_text(spec: ObservationSpec) -> str:
    text = f"{spec.dtype.name} {list(spec.shape)}"
    if not spec.feature_names:
        return text
    names = ", ".join(spec.feature_names[:FEATURES_SHOWN])
    more = len(spec.feature_names) - FEATURES_SHOWN
    return f"{text}: {names}" + (f" and {more} more" if more > 0 else "")


def _action_text(spec: ActionSpec) -> str:
    text = f"{spec.kind.value} {spec.dtype.name} {list(spec.shape)}"
    if spec.nvec:
        text += f", choices {list(spec.nvec)}"
    if spec.start:
        text += f" from {spec.start}"
    return f"{text}: {', '.join(spec.names)}" if spec.names else text


def _cells(version: PolicyVersion) -> tuple[str, ...]:
    created = "-" if version.created is None else f"{version.created:%Y-%m-%dT%H:%M:%SZ}"
    lanes, labels = (", ".join(names) or "-" for names in (version.lanes, version.labels))
    variant = version.variant or "-"
    state = version.state.value
    return (str(version.version), state, variant, lanes, labels, created, version.detail or "-")
