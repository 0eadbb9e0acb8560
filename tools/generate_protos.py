"""Generate the Python code of every .proto file, beside it; `--check` compares instead of writing.

The folder `protos/` is a source root, so a proto package is a Python package (`steersman.v1`) and what protoc
writes imports correctly as it is. One thing is patched: a proto whose package is not its folder has the names
of somebody else's protocol, which others generate code for, too. Its descriptors go to a pool of their own,
`POOL` of the folder's package, for one pool cannot hold both.
"""

import argparse
import difflib
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")
POOL_IMPORT = "from google.protobuf import descriptor_pool as _descriptor_pool\n"
DEFAULT_POOL = "_descriptor_pool.Default()"


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit code is 1 if the code checked in is not what the protos give."""
    parser = argparse.ArgumentParser(description="Generate the Python code of the protos.")
    parser.add_argument("--check", action="store_true", help="compare, change nothing, exit 1 if they differ")
    parser.add_argument(
        "--root", type=Path, default=Path(__file__).parent.parent / "protos", metavar="FOLDER"
    )
    options = parser.parse_args(argv)
    return check(options.root) if options.check else write(options.root)


def write(root: Path) -> int:
    """Generate into `root` itself and remove what no proto gives any more."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = generate(root, Path(folder))
        stale = set(generated_files(root)) - set(fresh)
        for name, text in fresh.items():
            (root / name).write_text(text, encoding="utf-8")
    for name in stale:
        (root / name).unlink()
        print(f"removed {root / name}: no proto gives it")
    print(f"{len(fresh)} files written below {root}")
    return 0


def check(root: Path) -> int:
    """Compare what is in `root` with what its protos give now, and print each difference."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = generate(root, Path(folder))
    present = generated_files(root)
    different = [name for name in sorted({*fresh, *present}) if fresh.get(name) != present.get(name)]
    for name in different:
        print_difference(name, present.get(name, ""), fresh.get(name, ""))
    if different:
        print(f"generated code differs: {', '.join(different)}. Run `make proto` and commit what it writes.")
        return 1
    print(f"generated code is up to date: {len(fresh)} files")
    return 0


def generate(root: Path, target: Path) -> dict[str, str]:
    """Run protoc on all protos of `root`; give the text of each file it made, by its path below `target`."""
    protos = sorted(str(path.relative_to(root)) for path in root.rglob("*.proto"))
    if not protos:
        sys.exit(f"no .proto file below {root}")
    scripts = Path(sysconfig.get_path("scripts"))
    command = [
        *(sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={root}"),
        *(f"--plugin={plugin}={scripts / plugin}" for plugin in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")),
        *(f"--{kind}_out={target}" for kind in ("python", "grpc_python")),
        *(f"--{kind}_out=quiet:{target}" for kind in ("mypy", "mypy_grpc")),
        *protos,
    ]
    if subprocess.run(command, check=False).returncode != 0:
        sys.exit("protoc found the error above; nothing was changed")
    drop_empty_services(target)
    for proto in protos:
        if not named_as_its_folder(root / proto, proto):
            use_own_pool(target / proto.replace(".proto", "_pb2.py"), Path(proto).parent)
    return generated_files(target)


def named_as_its_folder(path: Path, name: str) -> bool:
    """Whether the proto's package is the Python package that its folder is."""
    declared = re.search(r"^package ([\w.]+);", path.read_text(encoding="utf-8"), re.MULTILINE)
    return declared is None or declared[1] == ".".join(Path(name).parent.parts)


def use_own_pool(path: Path, folder: Path) -> None:
    """Register the descriptors of a generated module in the pool of its package instead of everybody's."""
    text = path.read_text(encoding="utf-8")
    if POOL_IMPORT not in text or DEFAULT_POOL not in text:
        sys.exit(f"{path.name}: protoc writes something else than it did; use_own_pool must learn it")
    own = f"import {'.'.join(folder.parts)} as _package\n"
    path.write_text(text.replace(POOL_IMPORT, own).replace(DEFAULT_POOL, "_package.POOL"), encoding="utf-8")


def drop_empty_services(target: Path) -> None:
    """Remove the gRPC modules of protos that define no service."""
    for path in target.rglob("*_pb2_grpc.py"):
        if "def add_" not in path.read_text(encoding="utf-8"):
            path.unlink()
            path.with_suffix(".pyi").unlink(missing_ok=True)


def generated_files(root: Path) -> dict[str, str]:
    """The text of every generated file below `root`, by its relative path."""
    return {
        str(path.relative_to(root)): path.read_text(encoding="utf-8") for path in sorted(_generated(root))
    }


def _generated(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*_pb2*.py*") if path.name.endswith(SUFFIXES))


def print_difference(name: str, present: str, fresh: str) -> None:
    """Print the first lines of a unified diff; generated descriptors are long."""
    lines = difflib.unified_diff(
        present.splitlines(),
        fresh.splitlines(),
        f"{name} (checked in)",
        f"{name} (generated)",
        lineterm="",
        n=1,
    )
    for line in list(lines)[:40]:
        print(line[:200])


if __name__ == "__main__":
    sys.exit(main())
