#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# run.sh: the tests of this module against $SLUICE_BIN/sluiced, ended by "test-peer: N passed, N failed, N skipped". Without
# Go >= 1.26, or its modules where there is no network, everything is skipped with the reason; STRICT=1 makes that a failure.
set -uo pipefail
cd "$(dirname "$0")" || exit 1
all=$(grep -cE '^func Test' ./*_test.go)
skip() {
        echo "SKIPPED: $1"
        echo "test-peer: 0 passed, 0 failed, $all skipped"
        [ "${STRICT:-0}" != 1 ]
        exit
}
export GOTOOLCHAIN=local GOFLAGS=-mod=readonly
command -v go >/dev/null || skip "Go is not installed (1.26 or newer is needed)"
version=$(go env GOVERSION)
[ "$(printf 'go1.26\n%s\n' "$version" | sort -V | head -n 1)" = go1.26 ] || skip "$version is too old (1.26 or newer is needed)"
go mod download 2>/dev/null || GOPROXY=off go build ./... 2>/dev/null || skip "the Go modules are not in the cache and cannot be fetched"
out=$(mktemp)
trap 'rm -f "$out"' EXIT
go test -v -count=1 -timeout 10m . >"$out" 2>&1
status=$?
passed=$(grep -cE '^--- PASS' "$out") failed=$(grep -cE '^--- FAIL' "$out") skipped=$(grep -cE '^--- SKIP' "$out")
[ "$status" = 0 ] || [ "$failed" != 0 ] || failed=1
[ "$failed" = 0 ] || grep -vE '^(=== RUN|--- PASS)' "$out" | tail -n 100
echo "test-peer: $passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ] && { [ "${STRICT:-0}" != 1 ] || [ "$skipped" = 0 ]; }
