"""Models, graphs and bundles that many tests look at; each is made once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from click.testing import Result
from hypothesis import settings
from typer.testing import CliRunner

from steersman.bundle.bundle import Bundle
from steersman.export.cli import export, inspect, verify
from unit.export.models import CASES, DRIFT, Case, Graphed, Trained, graphed, train

Train = Callable[[Case], Trained]
Graph = Callable[[Case], Graphed]
Command = Callable[..., Result]

PLAIN = CASES[0]
NORMALIZED = next(case for case in CASES if case.name == "normalized counts")


settings.register_profile("patient", deadline=None)  # examples are quick, but the machine may be busy
settings.load_profile("patient")


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Trains a case, once."""
    made: dict[str, Trained] = {}

    def get(case: Case) -> Trained:
        if case.name not in made:
            made[case.name] = train(case, tmp_path_factory.mktemp("model"))
        return made[case.name]

    return get


@pytest.fixture(scope="session")
def graph(trained: Train) -> Graph:
    """Exports the graph of a case, once."""
    made: dict[str, Graphed] = {}

    def get(case: Case) -> Graphed:
        if case.name not in made:
            made[case.name] = graphed(trained(case))
        return made[case.name]

    return get


@pytest.fixture(scope="session")
def command() -> Command:
    """The three commands, as `steersman` has them."""
    app = typer.Typer(pretty_exceptions_enable=False)
    for function in (export, verify, inspect):
        app.command()(function)

    def run(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


@dataclass(frozen=True)
class Made:
    """A bundle and what the command that made it printed."""

    bundle: Bundle
    result: Result
    trained: Trained


@pytest.fixture(scope="session")
def plain_bundle(trained: Train, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Exported by the command, with on-policy episodes."""
    model, repository = trained(PLAIN), tmp_path_factory.mktemp("repository")
    names = "--feature-names=left,middle,right", "--action-names=wait,go"
    environment = "--env", DRIFT, "--env-kwargs=observation=flat", "--env-kwargs=action=two"
    result = command(
        "export", model.zip, "--repository", repository, *environment, *names, "--reference-episodes=50"
    )
    assert result.exit_code == 0, result.output
    return Made(Bundle.open(repository / "drift" / "1"), result, model)


@pytest.fixture(scope="session")
def normalized_bundle(trained: Train, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Continuous actions, VecNormalize, and no environment known."""
    model, repository = trained(NORMALIZED), tmp_path_factory.mktemp("repository")
    result = command(
        "export", model.zip, "--repository", repository, "--vecnormalize", model.vecnormalize, "--json"
    )
    assert result.exit_code == 0, result.output
    return Made(Bundle.open(Path(repository / "model" / "1")), result, model)
