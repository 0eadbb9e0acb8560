"""`.ci/run`, with a `make` that only says what it was asked for."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Ci = Callable[..., subprocess.CompletedProcess[str]]

MAKE = """\
#!/bin/sh
echo "made $1"
[ "$1" = test ] && echo "===== 272 passed in 47.48s ====="
[ "$1" != "$FAILS" ]
"""


@pytest.fixture
def ci(root: Path, tmp_path: Path) -> Ci:
    """Run a copy of the script where every command that it looks for is there."""
    (tmp_path / ".ci").mkdir()
    script = Path(shutil.copy(root / ".ci" / "run", tmp_path / ".ci" / "run"))
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "setup_postgres.sh").write_text("#!/bin/sh\n")
    (tmp_path / "tools" / "setup_postgres.sh").chmod(0o755)
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, text in {"make": MAKE, "h2load": "#!/bin/sh\n", "node": "#!/bin/sh\n"}.items():
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)

    def run(fails: str = "") -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}", "FAILS": fails}
        return subprocess.run([script], env=environment, capture_output=True, text=True, check=False)

    return run


def test_every_step_has_a_heading_and_a_duration(ci: Ci) -> None:
    done = ci()
    assert done.returncode == 0, done.stdout + done.stderr
    headings = re.findall(r"^=== (.+): ", done.stdout, re.MULTILINE)
    assert len(headings) == 14
    for heading in headings:
        assert (
            len(re.findall(rf"^ +\d+ s  {heading}$", done.stdout, re.MULTILINE)) == 2
        )  # in place, and at the end
    assert done.stdout.splitlines()[-1] == "===== 272 passed in 47.48s ====="


@pytest.mark.parametrize(
    ("target", "step"), [("test", "set-up and tests"), ("mypy", "mypy"), ("demo-check", "demo")]
)
def test_the_first_failure_ends_it_by_name(ci: Ci, target: str, step: str) -> None:
    done = ci(fails=target)
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1].startswith(f"=== FAILED: {step}, after ")
    assert done.stdout.splitlines()[-3] in {f"made {target}", "===== 272 passed in 47.48s ====="}
