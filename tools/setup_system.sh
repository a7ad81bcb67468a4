#!/usr/bin/env bash
# The system parts that tests use and pip cannot give: a Chromium for the report.
# Installs them where it may (root, apt-get); elsewhere it says what is missing, and the tests that need it say so too.
set -eu

find_browser() {
    for name in chromium chromium-browser google-chrome; do
        command -v "$name" && return 0
    done
    return 1
}

if found=$(find_browser); then
    echo "setup-system: Chromium is at $found"
    exit 0
fi
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "setup-system: installing Chromium"
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    if apt-get update -qq >"$log" 2>&1 &&
        apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >>"$log" 2>&1 && found=$(find_browser); then
        echo "setup-system: Chromium is at $found"
        rm -f "$log"
        exit 0
    fi
    tail -n 3 "$log" >&2
    rm -f "$log"
fi
echo "setup-system: no Chromium here: tests in a browser will be skipped (and fail where CI=true)." >&2
echo "setup-system: to have them, install one: 'sudo apt-get install chromium', or your system's way." >&2
