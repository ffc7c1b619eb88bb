#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# deps.sh PACKAGE...: installs those Debian packages that are missing, saying so first. Silent when all are there.
set -euo pipefail
missing=()
for p in "$@"; do
        dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
done
[ ${#missing[@]} = 0 ] && exit 0
echo "deps: installing ${#missing[@]} Debian packages: ${missing[*]}"
run=()
if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || { echo "deps: not root and no sudo: install them and run again" >&2; exit 1; }
        run=(sudo)
fi
"${run[@]}" apt-get update -qq
"${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
