"""Options of the `steersman export` command, with their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from steersman.export.vocabulary import Algorithm
from steersman.export.vocabulary import ImageLayout as Layout

Source = Annotated[
    Path,
    typer.Argument(
        help="An SB3 zip, or a run folder of `steersman train` or rl-baselines3-zoo.", show_default=False
    ),
]
BundlePath = Annotated[Path, typer.Argument(help="Folder of one version, such as bundles/cartpole/1.")]
RepositoryFolder = Annotated[Path, typer.Option("--repository", help="Folder of bundles.")]
Policy = Annotated[
    str | None, typer.Option(help="Name of the policy.", show_default="from the environment or the file")
]
Version = Annotated[
    int | None, typer.Option(min=1, help="Version to write.", show_default="the next free one")
]
Env = Annotated[
    str | None, typer.Option(help="gymnasium id of the environment.", show_default="as the run says")
]
EnvKwargs = Annotated[
    list[str] | None, typer.Option(metavar="KEY=VALUE", help="Argument of the environment; repeatable.")
]
EnvImport = Annotated[
    str | None, typer.Option(metavar="MODULE", help="Module that registers the environment.")
]
Observations = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE.npz", help="Observations that the policy saw: obs or obs/KEY [N, ...], episode [N]."
    ),
]
Wrapper = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME[:JSON]",
        help='Wrapper of the training environment, as frame_stack:{"frames":4}; repeatable, innermost first.',
        show_default="as the run says",
    ),
]
DeclareWrapper = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME[:JSON]", help="Wrapper unknown to export that your callers apply themselves."),
]
ImageLayout = Annotated[
    Layout | None,
    typer.Option(help="Where your images have their channels.", show_default="as the environment"),
]
VecNormalize = Annotated[
    Path | None,
    typer.Option("--vecnormalize", help="File that VecNormalize.save wrote.", show_default="as the run says"),
]
Algo = Annotated[Algorithm | None, typer.Option(help="Overrules what is inferred from the zip.")]
FeatureNames = Annotated[str | None, typer.Option(metavar="A,B", help="Names of the observation's elements.")]
ActionNames = Annotated[
    str | None, typer.Option(metavar="A,B", help="Names of the choices, or of the action's elements.")
]
ReferenceEpisodes = Annotated[
    int,
    typer.Option(
        min=0,
        help="Episodes per serving mode at least, and as many more as the evidence needs; 0 plays none.",
    ),
]
RequireInt8 = Annotated[
    bool, typer.Option("--require-int8", help="Fail when no int8 variant passes its gates.")
]
Seed = Annotated[int, typer.Option(min=0, help="Makes episodes and choices of states repeatable.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress, and print only where the bundle is.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the version if it exists.")]
NoInt8 = Annotated[bool, typer.Option("--no-int8", help="Make no 8-bit variant: quicker.")]
TrustCode = Annotated[
    bool,
    typer.Option(
        "--trust-code", help="Run your own code that the file names or contains. Only for files you made."
    ),
]
ImportPath = Annotated[
    list[Path] | None,
    typer.Option("--import-path", metavar="FOLDER", help="Where your modules are, with --trust-code."),
]
Sign = Annotated[
    Path | None, typer.Option("--sign", metavar="KEY", help="Private key to sign the manifest with.")
]
TrustedKeys = Annotated[
    list[Path] | None,
    typer.Option(
        "--trusted-key",
        metavar="KEY",
        help="Public key; a valid signature by one of them is required. Repeatable.",
    ),
]
