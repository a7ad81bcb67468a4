#!/usr/bin/env bash
# make_venv.sh FOLDER: a virtual environment there, with pip in it, made by $PYTHON (default python3).
# Leaves an environment that works alone, so that a change of pins only installs the difference.
set -eu
folder=$1
python=${PYTHON:-python3}

if ! "$python" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "instil needs Python 3.11 or newer, and '$python' is not: run 'make PYTHON=/path/to/python3.11 ...'." >&2
    exit 1
fi
if "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
    exit 0
fi
rm -rf "$folder"
if ! "$python" -m venv "$folder" >/dev/null 2>&1; then
    # Debian ships Python without ensurepip: borrow the pip outside to put one inside.
    rm -rf "$folder"
    "$python" -m venv --without-pip "$folder"
    "$python" -m pip --python "$folder/bin/python" install --quiet pip
fi
