"""What `steersman rules test` and `steersman check` share: the files that they read, the contract."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from steersman.bundle.errors import UsageError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from steersman.bundle.reference import Reference
    from steersman.bundle.specs import Contract
    from steersman.safety.members import Aids
    from steersman.serving.rollout.deployment import Deployment

    Model = TypeVar("Model", bound=BaseModel)

BundleOption = Annotated[
    Path | None,
    typer.Option("--bundle", help="Folder of one version of the policy, such as bundles/cartpole/1."),
]
PolicyOption = Annotated[
    Path | None,
    typer.Option("--policy", help="Description of the policy, YAML, where there is no bundle yet."),
]
EntryPointOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-entry-point", help="Python function that the chain may call, package.module:function."
    ),
]


@dataclass(frozen=True, slots=True)
class Text:
    """A YAML file.

    Attributes:
        file: What errors call it.
        text: What is in it.
        data: The same, read.
    """

    file: str
    text: str
    data: Any

    @classmethod
    def read(cls, path: Path) -> Text:
        """The file.

        Raises:
            UsageError: It cannot be read, or is not YAML.
        """
        import yaml

        from steersman.serving.rollout.deployment import read_deployment_text
        from steersman.serving.rollout.yaml_text import read_yaml, yaml_mistake

        text = read_deployment_text(path)
        try:
            return cls(str(path), text, read_yaml(text))
        except yaml.YAMLError as error:
            raise UsageError(f"not YAML: {yaml_mistake(error)}", where=str(path)) from None

    def as_settings(self, model: type[Model]) -> Model:
        """What it says, as settings.

        Raises:
            UsageError: It says something else; the line is named.
        """
        from steersman.bundle.validation import validated
        from steersman.serving.rollout.yaml_lines import Lines

        return validated(model, self.data, where=self.file, line_of=Lines(self.text).line_of)

    def as_deployment(self) -> Deployment:
        """What it says, as a deployment.

        Raises:
            UsageError: It says something else; the line is named.
        """
        from steersman.serving.rollout.deployment import parse_deployment

        return parse_deployment(self.text, where=self.file)


def contract_of(bundle: Path | None, policy: Path | None) -> tuple[Contract, Reference | None]:
    """The policy's contract, and what there is of a reference.

    Raises:
        UsageError: Neither or both are given, or the description is wrong.
        BundleError: The bundle cannot be read.
    """
    if bundle is not None and policy is None:
        from steersman.bundle.bundle import Bundle
        from steersman.serving.loading.references import read_references

        found = Bundle.open(bundle)
        return found.manifest.contract, read_references(found).get("greedy")
    if policy is not None and bundle is None:
        from steersman.safety.trials.sketch import PolicySketch

        return Text.read(policy).as_settings(PolicySketch).contract(str(policy)), None
    raise UsageError(
        "which policy is meant?",
        expected="--bundle FOLDER or --policy FILE, one of the two",
        hint="Names of features and actions come from there.",
    )


def aids_of(entry_points: list[str] | None) -> Aids:
    """What members of the chain may use here: the functions that the command line names."""
    from steersman.safety.entry_points import EntryPoints
    from steersman.safety.members import Aids

    return Aids(entry_points=EntryPoints(entry_points or ()))


def action_text(action: Any, contract: Contract) -> str:
    """An action on a terminal, choices by name where they have one."""
    import numpy as np

    if action is None:
        return "-"
    names, start = getattr(contract.action, "names", ()), getattr(contract.action, "start", None)
    value = action.tolist()
    if action.dtype.kind == "f":
        return str(np.vectorize(lambda number: float(f"{number:.6g}"), otypes=[float])(action).tolist())
    if start is not None and names and 0 <= value - start < len(names):
        return f"{value} ({names[value - start]})"
    return str(value)
