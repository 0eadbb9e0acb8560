"""`steersman export`, `verify` and `inspect`: the commands, without the libraries that they need to run."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import typer

from steersman.export import options
from steersman.export.errors import ExportUsageError

NEEDED = (
    "torch",
    "stable_baselines3",
    "sb3_contrib",
    "gymnasium",
    "onnx",
    "onnxscript",
    "matplotlib",
    "threadpoolctl",
)


def export(  # cap: parameters, one for each option
    source: options.Source,
    *,
    repository: options.RepositoryFolder = Path("bundles"),
    policy: options.Policy = None,
    version: options.Version = None,
    overwrite: options.Overwrite = False,
    env: options.Env = None,
    env_kwargs: options.EnvKwargs = None,
    env_import: options.EnvImport = None,
    observations: options.Observations = None,
    wrapper: options.Wrapper = None,
    declare_wrapper: options.DeclareWrapper = None,
    image_layout: options.ImageLayout = None,
    vecnormalize: options.VecNormalize = None,
    algo: options.Algo = None,
    trust_code: options.TrustCode = False,
    import_path: options.ImportPath = None,
    feature_names: options.FeatureNames = None,
    action_names: options.ActionNames = None,
    reference_episodes: options.ReferenceEpisodes = 100,
    no_int8: options.NoInt8 = False,
    require_int8: options.RequireInt8 = False,
    sign: options.Sign = None,
    seed: options.Seed = 0,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Export an SB3 policy as a verified ONNX bundle, quantized where that changes no decisions.

    Nothing that the file contains is run, unless you say --trust-code. The bundle
    is written only when the graph answers as SB3 does.

    Exit status: 0 done, 1 a check failed, 2 used wrongly.
    """
    options_as_typed = locals()  # every option by its name: `command.py` knows what each means
    _require_export_extra()
    from steersman.export.command import parse_settings, run_export

    run_export(parse_settings(options_as_typed), as_json=json, quiet=quiet)


def verify(
    bundle: options.BundlePath,
    *,
    trusted_key: options.TrustedKeys = None,
    json: options.Json = False,
) -> None:
    """Check that files are as the manifest says and answer here as recorded. Needs no torch.

    A signature that does not fit always fails; whether one has to be there, --trusted-key says.

    Exit status: 0 it does, 1 it does not, 2 used wrongly.
    """
    from steersman.export.inspection import run_verify

    raise typer.Exit(run_verify(bundle, trusted_keys=trusted_key or (), as_json=json))


def inspect(bundle: options.BundlePath, *, json: options.Json = False) -> None:
    """Print what a policy takes and gives, and the evidence in its bundle."""
    from steersman.export.inspection import run_inspect

    run_inspect(bundle, as_json=json)


def _require_export_extra() -> None:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ExportUsageError(
            f"exporting needs {', '.join(missing)}", hint="Install it with: pip install 'steersman[export]'"
        )
