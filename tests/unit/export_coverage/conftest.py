"""The matrix is a package of the repository, not of the installation."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[3]))
