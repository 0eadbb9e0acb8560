#!/usr/bin/env bash
# Resolve all dependencies without constraints in a throwaway environment, and pin what came out.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet hatchling -e '.[training,export,postgres,dev]'
{
    grep '^#' constraints.txt
    # A build's own label, as in 2.13.0+cpu, is not part of the pin.
    "$folder/venv/bin/python" -m pip freeze --all --exclude-editable | grep -v '^pip==' | sed 's/+.*//'
} >"$folder/constraints.txt"
diff constraints.txt "$folder/constraints.txt" || cp "$folder/constraints.txt" constraints.txt
