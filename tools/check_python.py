"""Say clearly when the Python at hand cannot make the project's environment; written for old Pythons too."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - this is what tells people with an older one
    version = ".".join(str(part) for part in sys.version_info[:3])
    sys.exit(
        "Steersman needs Python 3.11 or newer, and " + sys.executable + " is " + version + ".\n"
        "Name another one: make PYTHON=python3.12 demo"
    )
try:
    import ensurepip  # noqa: F401
    import venv  # noqa: F401
except ImportError:
    sys.exit(
        sys.executable + " cannot make virtual environments.\n"
        "Debian and Ubuntu: apt-get install python3-venv; or name another: make PYTHON=python3.12 demo"
    )
