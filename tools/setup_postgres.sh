#!/bin/sh
# See to it that PostgreSQL's programs are there, which the tests of the store start one of their own with.
#
# Installs Debian's package where that can be done without asking: as root. Elsewhere it says what to do, and the
# tests that need it fail with the same words. What the package may start by itself is not used.
set -eu

command -v initdb >/dev/null && exit 0
for program in /usr/lib/postgresql/*/bin/initdb; do # Debian keeps it off the path
    [ -x "$program" ] && exit 0
done

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing PostgreSQL, which tests of the store start"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql >/dev/null && exit 0
fi
echo "PostgreSQL is missing; tests of the store will fail. Debian, Ubuntu: apt-get install postgresql;" \
    "macOS: brew install postgresql; without it: make test ARGS='-k \"not postgres\"'"
