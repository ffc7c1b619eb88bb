#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# run.sh [MUTANT...]: builds each mutant (a deliberate breakage: README.md) in a copy of the tree that shares all objects, and
# runs the tests that it names. A test that is green without the mutant must be red with it, by its own verdict: what does not
# apply, does not build, crashes or hangs has shown nothing. Ends with a table and "test-mutants: N passed, N failed, N skipped".
set -uo pipefail
export top=$PWD here=tests/mutants build=build/asan work=build/mutants
export CMOCKA_MESSAGE_OUTPUT=TAP ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1}

# What a test needs of make, of the mutant and of the tree as it is. needs STAGE PROGRAM mutant|tree
needs() {
        case $1-$2 in
        test-sim-pods | test-sim-release | test-kubelet-*) echo "$build/bin/sluiced-quick-pods" ;;
        esac
        case $1-$3 in
        test-unit-*) echo "$build/tests/unit/${2}_test" ;;
        test-crash-tree) echo "$build/bin/sluiced-held $build/bin/sluiced-held-quick $build/bin/sluice-hand-held $build/tests/crash/crash" ;;
        test-crash-mutant) echo "$build/bin/sluiced-held $build/bin/sluiced-held-quick $build/bin/sluice-hand-held" ;;
        test-sim-tree) echo "$build/bin/sluiced $build/bin/sluice-hand $build/bin/sluiced-no-epoch $build/tests/sim/${2}_test" ;;
        *) echo "$build/bin/sluiced $build/bin/sluice-hand $build/bin/sluicectl" ;;
        esac
}

# The program of a test, made of the tree as it is: a mutant in what the test itself uses of the library would blur what it
# says. A unit is the mutant's.
program_of() {
        case $1 in
        test-unit) echo "$2/$build/tests/unit/${3}_test" ;;
        test-sim) echo "$top/$build/tests/sim/${3}_test" ;;
        test-crash) echo "$top/$build/tests/crash/crash" ;;
        test-kubelet) echo "$top/build/kubelet/k$3.test" ;;
        *) echo "$top/$work/$1.test" ;;
        esac
}

# "green", "red", or why it is neither. verdict TREE STAGE PROGRAM TEST LOG
verdict() {
        local program status
        program=$(program_of "$2" "$1" "$3")
        if [ -s "$work/$2$3.skipped" ]; then
                cat "$work/$2$3.skipped"
                return
        fi
        export CASE=$4 SLUICE_BIN=$1/$build/bin
        case $2 in
        test-unit | test-sim | test-crash) timeout -k 5 120 "$program" >"$5" 2>&1 </dev/null & ;;
        *) (cd "tests/${2#test-}" && exec timeout -k 5 300 "$program" -test.v -test.run "^$4\$") >"$5" 2>&1 </dev/null & ;;
        esac
        wait $!
        status=$?
        kill -KILL -- -$! 2>/dev/null # timeout's own group: daemons that a test which failed has left
        if grep -qE "^(not ok [0-9]+ -|--- FAIL:) $4( |\$)" "$5"; then
                echo red
        elif grep -qE "^(ok [0-9]+ -|--- PASS:) $4( |\$)" "$5"; then
                echo green
        elif [ $status = 124 ] || [ $status = 137 ]; then
                echo "no end in time"
        else
                echo "no verdict, exit $status"
        fi
}

# A named test on the tree as it is. unbroken STAGE PROGRAM TEST
unbroken() {
        verdict "$top" "$@" "$work/unbroken/$3.log" >"$work/unbroken/$3"
}

# The copy's objects are up to date but for the one whose source is replaced. Without what gcc noted of headers make does not
# look further. Nothing writes into a file that both have: compiler, archiver and linker make new ones. build_mutant NAME
build_mutant() {
        local tree=$work/$1 file goals
        goals=$(while read -r _ stage program _; do needs "$stage" "$program" mutant; done < <(grep '^red ' "$here/$1.mutant") | tr ' ' '\n' | sort -u)
        mkdir -p "$tree/build" && cp -al Makefile VERSION api cmd deploy pkg tests "$tree" && cp -al "$build" "$tree/build" &&
                find "$tree/build" -name '*.d' -delete || return
        for file in $(sed -nE 's/^in //p' "$here/$1.mutant"); do
                rm "$tree/$file" && awk -f $here/apply.awk "$here/$1.mutant" "$file" >"$tree/$file" && continue
                echo "does not apply to $file" >"$work/$1.problem"
                return
        done
        # shellcheck disable=SC2086 # a list of files
        make -C "$tree" FLAVOUR=asan $goals || echo "does not build" >"$work/$1.problem"
}

# One mutant: a line "NAME|STAGE PROGRAM TEST|result" for each named test. mutant NAME
mutant() {
        local log=$work/$1.log before result
        build_mutant "$1" >"$log" 2>&1
        while read -r _ stage program test; do
                before=$(cat "$work/unbroken/$test")
                if [[ $before == skipped* ]]; then
                        result=$before
                elif [ "$before" != green ]; then
                        result="not green without it: $before"
                elif ! result=$(cat "$work/$1.problem" 2>/dev/null); then
                        result=$(verdict "$top/$work/$1" "$stage" "$program" "$test" "$work/$1.$test.log" | sed 's/^red$/killed/; s/^green$/SURVIVED/')
                fi
                echo "$1|$stage $program $test|$result"
        done < <(grep '^red ' "$here/$1.mutant") >"$work/$1.result"
        rm -rf "${work:?}/$1"
        sed 's/^/  /; s/|/: /; s/|/: /' "$work/$1.result"
}
export -f needs program_of verdict unbroken build_mutant mutant

# shellcheck disable=SC2046 # a list of names
[ $# -gt 0 ] || set -- $(find $here -name '*.mutant' -printf '%f\n' | sed 's/\.mutant$//' | sort)
rm -rf $work && mkdir -p $work/unbroken
specs=("${@/#/$here/}")
tests=$(sed -nE 's/^red //p' "${specs[@]/%/.mutant}" | sort -u)
# shellcheck disable=SC2046 # a list of files
make -j"$(nproc)" FLAVOUR=asan $(while read -r stage program _; do needs "$stage" "$program" tree; done <<<"$tests" | tr ' ' '\n' | sort -u) || exit 1
# What is written in Go is made by its own stage, which knows what it lacks.
for version in $(sed -nE 's/^test-kubelet ([0-9]+) .*/\1/p' <<<"$tests" | sort -u); do
        RUN='^$' SLUICE_BIN=$top/$build/bin tests/kubelet/run.sh "$version" | sed -nE 's/^SKIPPED: /skipped: /p' >"$work/test-kubelet$version.skipped"
done
if grep -q '^test-kubevirt ' <<<"$tests"; then
        TAGS=libvirt_dlopen LIBRARY=libvirt.so.0 tests/gostage.sh test-kubevirt kubevirt -vet=off -ldflags='-s -w' -c -o "$top/$work/test-kubevirt.test" . |
                sed -nE 's/^SKIPPED: /skipped: /p' >$work/test-kubevirt-.skipped
fi
xargs -P "$(nproc)" -L 1 bash -c 'unbroken "$@"' _ <<<"$tests"
printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} bash -c 'mutant {}'

cat $work/*.skipped 2>/dev/null | sed 's/^skipped/SKIPPED/' | sort -u
cat $work/*.result | sort | awk -F'|' -v strict="${STRICT:-0}" '
        { printf "%-30s %-10s %s\n", $1 == last ? "" : $1, $3 ~ /^skipped/ ? "skipped" : $3, $2; last = $1 }
        { $3 == "killed" ? passed++ : $3 ~ /^skipped/ ? skipped++ : failed++ }
        END { printf "test-mutants: %d passed, %d failed, %d skipped\n", passed, failed, skipped; exit failed > 0 || passed == 0 || strict == 1 && skipped > 0 }'
