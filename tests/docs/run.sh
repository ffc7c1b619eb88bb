#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# run.sh [PAGE...]: does what the documents say. Each page has a directory of its own, beside links to what is in this tree. Ends with
# "test-docs: N passed, N failed, N skipped".
#   ```yaml config FILE   is written to FILE, and sluiced takes it as its configuration without a problem
#   ```sh run             is run there with the built programs on the path, and succeeds
#   ```text output        is what the block before it printed
set -uo pipefail
shopt -s nullglob
cd "$(dirname "$0")/../.." || exit 1
top=$PWD
PATH=$(cd "$SLUICE_BIN" && pwd):$PATH
export PATH
[ $# -gt 0 ] || set -- README.md docs/*.md charts/sluice/README.md
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0 failed=0

split() { # split PAGE DIR: its marked blocks as files NUMBER.KIND[.NAME] in DIR; their first line says where they stand
        awk -v dir="$2" '/^```/ && open { open = 0; close(file); next }
             /^```(sh run|text output)$/ || /^```yaml config [a-z0-9-]+[.]yaml$/ {
                     file = sprintf("%s/%03d.%s", dir, ++n, $2) ($3 == "" ? "" : "." $3)
                     open = 1
                     print "# " FILENAME ":" NR > file
                     next
             }
             /^```/ { open = 1; file = /^```[a-z]* / ? sprintf("%s/%03d.unknown", dir, ++n) : "/dev/null"; print "# " FILENAME ":" NR > file; next }
             open { print > file }' "$1"
}
fail() { # fail BLOCK TEXT
        failed=$((failed + 1))
        printf '%s\n%s\n' "$(head -n 1 "$1" | cut -c3-)" "$2"
}
for page; do
        dir=$scratch/$(tr / _ <<<"$page")
        mkdir -p "$dir/blocks" "$dir/work"
        split "$page" "$dir/blocks"
        ln -s "$top/tests" "$top/deploy" "$top/charts" "$dir/work"
        said=
        cd "$dir/work" || exit 1
        for block in "$dir"/blocks/*; do
                case $block in
                *.config.*)
                        file=${block##*.config.}
                        tail -n +2 "$block" >"$file"
                        if text=$(sluiced --check-config --config "$file" 2>&1); then passed=$((passed + 1)); else fail "$block" "$text"; fi
                        ;;
                *.run)
                        if said=$(timeout 60 bash -euo pipefail "$block" 2>&1 </dev/null); then passed=$((passed + 1)); else fail "$block" "$said"; fi
                        ;;
                *.unknown) fail "$block" "a mark that is none of these" ;;
                *.output)
                        if text=$(diff -u <(tail -n +2 "$block") <(sed 's/ *$//' <<<"$said")); then passed=$((passed + 1)); else fail "$block" "$text"; fi
                        ;;
                esac
        done
        cd "$top" || exit 1
done
echo "test-docs: $passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
