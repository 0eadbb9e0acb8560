"""`python -m steersman.cli`: the same as `steersman`."""

from steersman.cli import main

main()
