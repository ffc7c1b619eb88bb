#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# save.sh FIGURES PAGE: puts the figures between the marks of the page.
set -euo pipefail
[ -s "$1" ] || exit 1
awk -v figures="$1" '/<!-- figures:begin -->/ { print; while ((getline line < figures) > 0) print line; skip = 1 }
                     /<!-- figures:end -->/ { skip = 0 } !skip && !/<!-- figures:begin -->/' "$2" > "$2.tmp"
mv "$2.tmp" "$2"
echo "saved to $2"
