# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Counting, shared by what runs here and in the minimal root: check NAME COMMAND... passes when the command does.
passed=0 failed=0
check() {
        local name=$1 said
        shift
        if said=$("$@" 2>&1); then
                passed=$((passed + 1))
                echo "ok - $name"
        else
                failed=$((failed + 1))
                printf 'not ok - %s\n%s\n' "$name" "$(sed 's/^/  # /' <<<"$said" | tail -n 30)"
        fi
}
