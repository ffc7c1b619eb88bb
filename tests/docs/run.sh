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
scratch=$(mktemp -d -p /tmp)
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
run() { # run BLOCK: in a group of its own, which ends with it, whatever it has started
        setsid timeout --foreground 60 bash -euo pipefail "$1" </dev/null >"$scratch/said" 2>&1 &
        local group=$! status
        wait "$group"
        status=$?
        kill -KILL -- "-$group" 2>/dev/null
        said=$(cat "$scratch/said")
        return "$status"
}
fail() { # fail BLOCK TEXT
        failed=$((failed + 1))
        printf '%s\n%s\n' "$(head -n 1 "$1" | cut -c3-)" "$2"
}
n=0
for page; do
        dir=$scratch/$((++n)) # short: sockets lie below it
        mkdir "$dir" "$dir.blocks"
        split "$page" "$dir.blocks"
        ln -s "$top/tests" "$top/deploy" "$top/charts" "$dir"
        said=
        cd "$dir" || exit 1
        for block in "$dir.blocks"/*; do
                case $block in
                *.config.*)
                        file=${block##*.config.}
                        tail -n +2 "$block" >"$file"
                        if text=$(sluiced --check-config --config "$file" 2>&1); then passed=$((passed + 1)); else fail "$block" "$text"; fi
                        ;;
                *.run)
                        if run "$block"; then passed=$((passed + 1)); else fail "$block" "$said"; fi
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
