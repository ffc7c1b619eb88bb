#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# run.sh FUZZER...: each for FUZZ_SECONDS from its committed corpus; new inputs go to build/, a crash fails.
set -uo pipefail
passed=0 failed=0
for f in "$@"; do
        name=$(basename "$f")
        work=build/fuzz-corpus/$name
        mkdir -p "$work" build/fuzz-crashes
        if timeout 600 "$f" -max_total_time="${FUZZ_SECONDS:-20}" -rss_limit_mb=2048 -timeout=10 -artifact_prefix="build/fuzz-crashes/$name-" \
                "$work" "tests/fuzz/corpus/$name" >"build/fuzz-corpus/$name.log" 2>&1; then
                passed=$((passed + 1))
                echo "  $name: $(grep -E '^Done' "build/fuzz-corpus/$name.log")"
        else
                failed=$((failed + 1))
                echo "  $name FAILED"
                tail -n 40 "build/fuzz-corpus/$name.log"
        fi
done
echo "fuzz: $passed passed, $failed failed, 0 skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
