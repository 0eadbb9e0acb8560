"""The options of ``steersman train``: names and help, nothing that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from typer import Option

from steersman.training.vocabulary import Algorithm

ENVIRONMENT = "Environment"
STOPPING = "Length and target"
OUTPUT = "Output"

Env = Annotated[
    str, Option("--env", metavar="ID", help="Gymnasium id, such as CartPole-v1.", rich_help_panel=ENVIRONMENT)
]
EnvKwargs = Annotated[
    list[str] | None,
    Option(
        metavar="KEY=VALUE", help="Argument of the environment. May be repeated.", rich_help_panel=ENVIRONMENT
    ),
]
EnvImport = Annotated[
    str | None,
    Option(
        metavar="MODULE",
        help="Module to import first, for environments that it registers.",
        rich_help_panel=ENVIRONMENT,
    ),
]
FeatureNames = Annotated[
    str | None,
    Option(
        metavar="A,B,C",
        help="Names of the observation's components, in order; monitoring and drift use them.",
        rich_help_panel=ENVIRONMENT,
    ),
]
ActionNames = Annotated[
    str | None,
    Option(metavar="A,B", help="Names of the actions, in order.", rich_help_panel=ENVIRONMENT),
]
Algo = Annotated[Algorithm, Option(help="Algorithm.")]
Seed = Annotated[int, Option(help="Same seed, same machine, same policy.")]
NEnvs = Annotated[
    int | None,
    Option(metavar="N", help="Copies of the environment. Default: tuned for it, else 8."),
]
Hyperparameter = Annotated[
    list[str] | None,
    Option(
        metavar="KEY=VALUE",
        help="Overrides a default, such as gamma=0.98, or learning_rate=lin_0.001, falling to 0. "
        "May be repeated.",
    ),
]
Normalize = Annotated[
    bool | None,
    Option(
        "--normalize/--no-normalize",
        help="Scale observations and rewards by running statistics. "
        "Default: tuned for the environment, else no.",
    ),
]
Timesteps = Annotated[
    int,
    Option(metavar="N", help="Stop after this many steps, over all copies.", rich_help_panel=STOPPING),
]
TargetReturn = Annotated[
    float | None,
    Option(
        metavar="X",
        help="Stop as soon as the mean evaluation return is at least X, confirmed on fresh episodes; "
        "exit 1 if the steps run out first.",
        rich_help_panel=STOPPING,
    ),
]
EvalEvery = Annotated[
    int | None,
    Option(metavar="N", help="Steps between evaluations. Default: timesteps / 20.", rich_help_panel=STOPPING),
]
EvalEpisodes = Annotated[
    int, Option(metavar="N", help="Episodes in each evaluation.", rich_help_panel=STOPPING)
]
Out = Annotated[
    Path, Option(metavar="FOLDER", help="Runs are kept in FOLDER/<environment>.", rich_help_panel=OUTPUT)
]
Name = Annotated[
    str | None,
    Option(help="Name of the run's folder. Default: <algo>-<seed>-<n>.", rich_help_panel=OUTPUT),
]
Quiet = Annotated[bool, Option("--quiet", help="No progress.", rich_help_panel=OUTPUT)]
Json = Annotated[bool, Option("--json", help="Print the finished run as JSON.", rich_help_panel=OUTPUT)]
