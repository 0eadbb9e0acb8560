"""`python -m tools.export_coverage`."""

import sys

from tools.export_coverage.cli import main

if __name__ == "__main__":  # processes that are spawned import this file, too
    sys.exit(main())
