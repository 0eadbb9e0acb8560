"""The commands: what they print, how they end, and what they import."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from steersman.bundle.bundle import Bundle
from steersman.bundle.errors import SteersmanError
from steersman.export.signing.keys import write_new_key
from unit.export.conftest import PLAIN, Command, Made, Train


def test_export_prints_a_short_summary(plain_bundle: Made) -> None:
    printed = plain_bundle.result.stdout
    for words in (
        "drift version 1: PPO",
        "fp32",
        "int8",
        "µs",
        "0 disagreements",
        "greedy 400 episodes",
        "Written in",
    ):
        assert words in printed
    assert str(plain_bundle.bundle.path) in printed
    assert len(printed.splitlines()) < 15


def test_export_prints_json(normalized_bundle: Made) -> None:
    printed = json.loads(normalized_bundle.result.stdout)
    assert printed["path"] == str(normalized_bundle.bundle.path)
    assert printed["digest"] == normalized_bundle.bundle.digest
    assert printed["manifest"]["policy"] == "model"


def test_verify_passes_and_says_so(plain_bundle: Made, command: Command) -> None:
    result = command("verify", plain_bundle.bundle.path)
    assert (result.exit_code, result.stdout.count("passed")) == (0, 2)
    assert "6 files are as the manifest says" in result.stdout
    assert json.loads(command("verify", plain_bundle.bundle.path, "--json").stdout)["passed"] is True


def test_verify_notices_a_changed_byte(plain_bundle: Made, command: Command, tmp_path: Path) -> None:
    copy = shutil.copytree(plain_bundle.bundle.path, tmp_path / "1")
    data = bytearray((copy / "policy.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "policy.onnx").write_bytes(bytes(data))
    result = command("verify", copy)
    assert isinstance(result.exception, SteersmanError)
    assert result.exception.exit_code == 1
    assert "policy.onnx: content was changed" in str(result.exception)


def test_inspect_prints_the_contract(plain_bundle: Made, normalized_bundle: Made, command: Command) -> None:
    printed = command("inspect", plain_bundle.bundle.path).stdout
    for words in ("middle", "-5", "0 wait", "1 go", "greedy, sampled", "mask"):
        assert words in printed
    assert "VecNormalize" in command("inspect", normalized_bundle.bundle.path).stdout
    manifest = json.loads(command("inspect", plain_bundle.bundle.path, "--json").stdout)
    assert manifest["contract"]["action"]["names"] == ["wait", "go"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["gone.zip", "--repository", "r"], "gone.zip: there is no such file"),
        (["{zip}", "--repository", "r", "--policy", "Not A Name"], "--policy: got 'Not A Name'"),
        (["{zip}", "--repository", "r", "--env", "CartPole-v9"], "Did you mean"),
        (["{zip}", "--repository", "r", "--env-kwargs", "x"], "--env-kwargs: cannot read 'x'"),
        (["{zip}", "--repository", "r", "--feature-names", ""], "--feature-names"),
        (["{zip}", "--repository", "r", "--vecnormalize", "gone.pkl"], "gone.pkl: it cannot be read"),
        (["{zip}", "--repository", "r", "--overwrite"], "--overwrite: which version"),
        (["{zip}", "--repository", "r", "--import-path", "."], "nothing is imported without --trust-code"),
        (["{zip}", "--repository", "r", "--no-int8", "--require-int8"], "cannot be required"),
        (["{zip}", "--repository", "r", "--sign", "gone.pem"], "gone.pem"),
        (["{zip}", "--repository", "r", "--observations", "gone.npz"], "gone.npz"),
        (["{zip}", "--repository", "r", "--wrapper", "odd_wrapper"], "odd_wrapper"),
    ],
)
def test_wrong_options_end_with_one_line_and_two(
    trained: Train,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = command("export", *[a.format(zip=trained(PLAIN).zip) for a in arguments])
    assert isinstance(result.exception, SteersmanError)
    assert result.exception.exit_code == 2
    assert expected in str(result.exception)
    assert "\n" not in str(result.exception)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments", [["--no-such-option"], [], ["x.zip", "--version", "new"], ["x.zip", "--algo", "dagger"]]
)
def test_unknown_options_are_typer_s_to_refuse(command: Command, arguments: list[str]) -> None:
    assert command("export", *arguments).exit_code == 2


def test_a_signed_version_is_replaced_by_a_signed_one(
    trained: Train, command: Command, tmp_path: Path
) -> None:
    write_new_key(tmp_path / "release", None)
    asked = ["export", trained(PLAIN).zip, "--repository", tmp_path / "r", "--policy", "p", "--version", 1]
    quickly = ["--no-int8", "--quiet", "--sign", tmp_path / "release.private.pem"]
    for more in ([], ["--overwrite", "--seed", 1]):
        result = command(*asked, *quickly, *more)
        assert (result.exit_code, result.stdout.strip()) == (0, str(tmp_path / "r" / "p" / "1"))
    again = command(*asked, *quickly)
    assert isinstance(again.exception, SteersmanError)
    assert "version 1 exists already" in str(again.exception)
    bundle = tmp_path / "r" / "p" / "1"
    assert command("verify", bundle, "--trusted-key", tmp_path / "release.public.pem").exit_code == 0
    assert set(Bundle.open(bundle).manifest.variants) == {"fp32"}


def imported(statement: str) -> set[str]:
    script = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_listing_the_options_imports_nothing_heavy() -> None:
    assert not imported("import steersman.export.cli") & {
        "torch",
        "numpy",
        "onnx",
        "onnxruntime",
        "gymnasium",
    }


def test_verify_needs_no_torch(plain_bundle: Made) -> None:
    statement = (
        "from pathlib import Path; from steersman.export.inspection import run_verify\n"
        f"assert run_verify(Path({str(plain_bundle.bundle.path)!r}), as_json=False) == 0"
    )
    assert not imported(statement) & {"torch", "onnx", "stable_baselines3", "gymnasium"}
