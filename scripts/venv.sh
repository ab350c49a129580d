#!/bin/sh
# Makes the virtual environment: scripts/venv.sh PYTHON FOLDER
set -eu
python=$1
folder=$2

"$python" - <<'CHECK' || { echo "Phaya needs Python 3.11 or newer; call make with PYTHON=/path/to/python3.11" >&2; exit 1; }
import sys
sys.exit(sys.version_info < (3, 11))
CHECK

if ! [ -x "$folder/bin/pip" ]; then
    if ! "$python" -m venv "$folder" 2>/dev/null; then
        # Debian's python3 comes without ensurepip: take the package where we may, else virtualenv.
        rm -rf "$folder"
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            apt-get -qq update && apt-get -qq install -y python3-venv
            "$python" -m venv "$folder"
        else
            "$python" -m pip install --quiet --user virtualenv
            "$python" -m virtualenv --quiet "$folder"
        fi
    fi
fi
"$folder/bin/pip" install --quiet --disable-pip-version-check "pip>=25.1"
"$folder/bin/pip" install --quiet --disable-pip-version-check --constraint constraints.txt --editable . --group dev
