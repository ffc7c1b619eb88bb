#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# stages.sh NAME STAGE...: runs make verbs one after the other, all of them even when one fails, and sums up. A stage of
# tests ends with a line "NAME: N passed, N failed, N skipped"; without that line and with status 0 it counts as one passed.
set -uo pipefail
name=$1
shift
passed=0 failed=0 skipped=0 summary=()
mkdir -p build
for stage in "$@"; do
        echo "== $stage"
        start=$SECONDS
        log=build/stage-$stage.log
        make "$stage" 2>&1 | tee "$log"
        status=${PIPESTATUS[0]}
        line=$(grep -E "^$stage: [0-9]+ passed, [0-9]+ failed, [0-9]+ skipped" "$log" | tail -n 1)
        if [ -n "$line" ]; then
                read -r p f s < <(sed -E 's/^[^:]*: ([0-9]+) passed, ([0-9]+) failed, ([0-9]+) skipped.*/\1 \2 \3/' <<<"$line")
                if [ "$status" != 0 ] && [ "$f" = 0 ]; then f=1; fi
        else
                p=$((status == 0)) f=$((status != 0)) s=0
        fi
        passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
        summary+=("$(printf '%-22s %5s passed %4s failed %4s skipped %5s s' "$stage" "$p" "$f" "$s" $((SECONDS - start)))")
        reason=$(grep -hoE "(SKIPPED|# skipped): .*" "$log" | sed 's/# skipped/SKIPPED/' | sort -u | head -n 3)
        [ -z "$reason" ] || summary+=("    $reason")
done
echo
printf '%s\n' "$name" "${summary[@]}"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ $((passed + skipped)) -gt 0 ]
