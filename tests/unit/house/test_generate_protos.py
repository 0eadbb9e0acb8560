import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Generate = Callable[..., subprocess.CompletedProcess[str]]

PROTO = """\
syntax = "proto3";
package steersman.trial;
message Ping {
  // How often.
  int32 count = 1;
}
"""
SERVICE = "service Pinger { rpc Send(Ping) returns (Ping); }\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The one package of a source root with one proto in it."""
    folder = tmp_path / "steersman" / "trial"
    folder.mkdir(parents=True)
    (folder / "ping.proto").write_text(PROTO + SERVICE)
    return folder


@pytest.fixture
def generate(root: Path, tmp_path: Path) -> Generate:
    """Run the tool on the source root."""

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            str(root / "tools" / "generate_protos.py"),
            "--root",
            str(tmp_path),
            *options,
        ]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


def test_code_and_types_lie_beside_the_proto(folder: Path, generate: Generate) -> None:
    assert generate().returncode == 0
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "ping.proto",
        *("ping_pb2.py", "ping_pb2.pyi"),
        *("ping_pb2_grpc.py", "ping_pb2_grpc.pyi"),
    }
    assert "from steersman.trial import ping_pb2" in (folder / "ping_pb2_grpc.py").read_text()
    assert generate("--check").returncode == 0


def test_a_proto_without_a_service_gives_no_grpc_module(folder: Path, generate: Generate) -> None:
    (folder / "ping.proto").write_text(PROTO)
    generate()
    assert {path.name for path in folder.iterdir()} == {"ping.proto", "ping_pb2.py", "ping_pb2.pyi"}


def test_check_shows_what_differs_and_changes_nothing(folder: Path, generate: Generate) -> None:
    generate()
    (folder / "ping.proto").write_text(PROTO.replace("count = 1", "count = 2") + SERVICE)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    done = generate("--check")
    assert done.returncode == 1
    assert "generated code differs: steersman/trial/ping_pb2.py. Run `make proto`" in done.stdout
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_what_no_proto_gives_is_found_and_removed(folder: Path, generate: Generate) -> None:
    generate()
    stale = folder / "gone_pb2.py"
    stale.write_text("# from a proto that was renamed\n")
    assert generate("--check").returncode == 1
    assert generate().returncode == 0
    assert not stale.exists()


def test_a_proto_with_an_error_fails_and_changes_nothing(folder: Path, generate: Generate) -> None:
    generate()
    before = (folder / "ping_pb2.py").read_bytes()
    (folder / "ping.proto").write_text(PROTO + "message Broken {")
    done = generate()
    assert done.returncode == 1
    assert "ping.proto:7:17: " in done.stderr
    assert "nothing was changed" in done.stderr
    assert (folder / "ping_pb2.py").read_bytes() == before


def test_names_of_somebody_elses_protocol_get_a_pool_of_their_own(folder: Path, generate: Generate) -> None:
    (folder / "ping.proto").write_text(PROTO.replace("package steersman.trial", "package theirs") + SERVICE)
    assert generate().returncode == 0
    code = (folder / "ping_pb2.py").read_text()
    assert "import steersman.trial as _package" in code
    assert "_package.POOL.AddSerializedFile(" in code
    assert "descriptor_pool" not in code
    assert generate("--check").returncode == 0
