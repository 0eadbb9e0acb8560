import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Check = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def check(root: Path, tmp_path: Path) -> Check:
    """Write files into an empty repository and run the checker on it."""

    def run(**files: str) -> subprocess.CompletedProcess[str]:
        for name, text in files.items():
            path = tmp_path / PATHS[name]
            path.parent.mkdir(parents=True)
            path.write_text(text)
        command = [sys.executable, str(root / "tools" / "check_sizes.py"), "--root", str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


PATHS = {
    "source": "serving/steersman/serving/module.py",
    "command": "training/steersman/training/cli.py",
    "generated": "protos/steersman/v1/policy_pb2.py",
    "namespace": "export/steersman/__init__.py",
    "unit": "tests/unit/serving/test_module.py",
    "e2e": "tests/e2e/test_serve.py",
}


def function(lines: int, head: str = "def long():", docstring: str = '    """Do."""') -> str:
    body = ["    pass"] * (lines - 1)
    return "\n".join([head, docstring, *body]) + "\n"


def parameters(*names: str) -> str:
    return f"def many({', '.join(names)}):\n    pass\n"


ABC = ["a", "b", "c", "d", "e", "f", "g", "h", "i"]


@pytest.mark.parametrize(
    ("name", "text", "rule", "line"),
    [
        ("source", "x = 1\n" * 401, "file-lines", 1),
        ("source", "class Big:\n" + "    x = 1\n" * 250, "class-lines", 1),
        ("source", "x = 1\n" + function(51), "function-lines", 2),
        ("source", function(51, "async def long():"), "function-lines", 1),
        ("source", parameters(*ABC[:6]), "parameters", 1),
        ("source", parameters(*ABC[:5], "*", *ABC[5:]), "parameters", 1),
        ("source", "x = 1  # TODO: later\n", "unfinished", 1),
        ("source", "# FIXME(me)\n", "unfinished", 1),
        ("namespace", "", "namespace", 1),
        ("e2e", "import pytest\n\n\n@pytest.mark.skipif(True)\ndef test_a(): ...\n", "skipped-test", 4),
        ("e2e", "import pytest\n\npytest.importorskip('torch')\n", "skipped-test", 3),
        ("unit", "import pytest\n\n\ndef test_a():\n    pytest.xfail('later')\n", "skipped-test", 5),
        ("unit", "import time\n\ntime.sleep(0.1)\n", "sleep", 3),
        ("unit", "from time import sleep\n\nsleep(1)\n", "sleep", 3),
        ("unit", "import asyncio\n\n\nasync def f():\n    await asyncio.sleep(0.01)\n", "sleep", 5),
    ],
)
def test_an_offence_is_named_with_its_place(check: Check, name: str, text: str, rule: str, line: int) -> None:
    done = check(**{name: text})
    assert done.returncode == 1
    assert f"{PATHS[name]}:{line}: {rule}: " in done.stdout
    assert "1 to mend" in done.stdout


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("source", "x = 1\n" * 400),
        ("source", function(50)),
        ("source", function(50, docstring='    """Do.\n\n    At length.\n    """')),
        ("source", function(51, "def long():  # cap: function-lines, one table reads better whole")),
        ("source", parameters("self", *ABC[:5], "*", *ABC[5:8])),
        ("command", parameters(*ABC)),
        ("source", "def many(  # cap: parameters, the wire's own list\n    " + ", ".join(ABC) + "): ...\n"),
        ("source", "x = 1  # TODO(#12): later\n"),
        ("source", "x = 'TODO'\n"),
        ("generated", "x = 1\n" * 500),
        ("unit", "def test_many(a, b, c, d, e, f, g, h, i): ...\n"),
        ("unit", "import asyncio\n\n\nasync def f():\n    await asyncio.sleep(0)\n"),
        ("e2e", "import time\n\ntime.sleep(0.1)\n"),
    ],
)
def test_what_is_within_the_caps_passes(check: Check, name: str, text: str) -> None:
    done = check(**{name: text})
    assert done.returncode == 0, done.stdout


def test_an_excuse_without_a_reason_is_none(check: Check) -> None:
    assert check(source=function(51, "def long():  # cap: function-lines")).returncode == 1


def test_an_excuse_is_for_one_rule(check: Check) -> None:
    assert check(source=function(51, "def long():  # cap: parameters, for a reason")).returncode == 1
