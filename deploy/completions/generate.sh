#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# generate.sh BIN_DIR SHELL PROGRAM: prints the completion of sluicectl or sluiced for bash, zsh or fish. What there is to complete is
# what the program itself says with --help, so it cannot be anything else.
set -euo pipefail
export LC_ALL=C
bin=$1 shell=$2 program=$3
awk=$(dirname "$0")/complete.awk

# One line per thing: "verb NAME SUMMARY", "word VERB NAME SUMMARY", "option VERB NAMES KIND CHOICES SUMMARY", "device VERB"; fields
# are separated by tabs. sluiced has one verb, "".
described() {
        if [ "$program" = sluiced ]; then
                "$bin/sluiced" --help | awk -v verb= -f "$awk"
                return
        fi
        "$bin/sluicectl" help | sed -nE 's/^  ([a-z][a-z-]*) +(.*)/verb\t\1\t\2/p'
        "$bin/sluicectl" help | sed -nE 's/^  ([a-z][a-z-]*) +.*/\1/p' | while read -r verb; do
                case $verb in
                help | version) ;;
                *) "$bin/sluicectl" "$verb" --help | awk -v verb="$verb" -f "$awk" ;;
                esac
        done
}
described | awk -F '\t' -v program="$program" -f "$(dirname "$0")/$shell.awk"
