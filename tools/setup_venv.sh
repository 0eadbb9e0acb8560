#!/usr/bin/env bash
# Make a virtual environment with everything that developing Steersman needs: setup_venv.sh FOLDER
#
# torch comes first, from where TORCH_INDEX_URL says (the usual index if it is empty) and without its dependencies.
# Those come with the rest from the usual index, in the versions of constraints.txt, where the torch that was
# chosen takes the place of the pinned one.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=$1
python=${PYTHON:-python3}
torch=${TORCH:-$(grep '^torch==' constraints.txt)}
index=${TORCH_INDEX_URL:-}
log=$venv/setup.log
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

main() {
    "$python" tools/check_python.py
    echo "Setting up $venv: once, some minutes"
    [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
    : >"$log"

    echo "  $torch${index:+ from $index}"
    pip_install --no-deps ${index:+--index-url "$index"} "$torch"
    {
        grep -v '^torch==' constraints.txt
        "$venv/bin/python" -c 'from importlib.metadata import version; print("torch==" + version("torch"))'
    } >"$venv/constraints.txt"

    echo "  steersman[training,export,postgres,dev]"
    pip_install -c "$venv/constraints.txt" -e '.[training,export,postgres,dev]'
}

pip_install() {
    "$venv/bin/python" -m pip install "$@" 2>&1 | tee -a "$log" | briefly || {
        tail -n 30 "$log"
        echo "pip failed, as above; $log has all it said"
        exit 1
    }
}

# pip says much; what is worth reading is what takes long: large downloads, and the installation.
briefly() {
    while IFS= read -r line; do
        case $line in
            *.metadata*) ;;
            *Downloading*[MG]B\)) wheel "${line#*Downloading }" ;;
            *"Using cached"*[MG]B\)) wheel "${line#*Using cached }" ;;
            "Installing collected packages: "*) echo "    installing $(tr -cd , <<<"$line," | wc -c) packages" ;;
        esac
    done
}

wheel() { # torch-2.13.0-cp311-manylinux.whl (183.0 MB)
    IFS=- read -r name version _ <<<"$1"
    echo "    $name $version  ${1#* }"
}

main
