#!/bin/sh
# Install the server as the image has it: install.sh SOURCE PREFIX [DIST]
#
# Builds the sdist of the checkout SOURCE and the wheel from that sdist (both are left in DIST if it is named), and
# installs the wheel in a new virtual environment PREFIX, in the versions of constraints.txt, with the driver for
# PostgreSQL and no other extra: no torch, no training, no export. Run by the Dockerfile, and by tools/wheel_test.py
# where there is no Docker.
set -eu

source=$(cd "$1" && pwd)
prefix=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
dist=${3:-$work/dist}
python=${PYTHON:-python3}
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore

quietly() { # what a command said is shown if it fails
    "$@" >"$work/log" 2>&1 || {
        cat "$work/log"
        exit 1
    }
}

echo "building the sdist, and the wheel from it"
"$python" -m venv "$work/build"
quietly "$work/build/bin/python" -m pip install --constraint "$source/constraints.txt" build
quietly "$work/build/bin/python" -m build --outdir "$dist" "$source"

echo "installing the wheel in $prefix"
"$python" -m venv "$prefix"
quietly "$prefix/bin/python" -m pip install --constraint "$source/constraints.txt" "$(echo "$dist"/steersman-*.whl)[postgres]"
"$prefix/bin/python" -m pip check
cp "$source/deploy/docker/health.sh" "$prefix/bin/steersman-health"
chmod 755 "$prefix/bin/steersman-health"

# A server needs no installer.
quietly "$prefix/bin/python" -m pip uninstall --yes setuptools pip
