#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# lint.sh: what compilers do not say. Prints every finding; ends with "lint: N passed, N failed, N skipped".
# shellcheck disable=SC2046,SC2086 # lists of files from git: no blanks in them
set -uo pipefail
passed=0 failed=0 skipped=0
check() { # check NAME FINDINGS: no findings = passed
        if [ -z "$2" ]; then
                passed=$((passed + 1))
        else
                failed=$((failed + 1))
                printf 'lint: %s\n%s\n' "$1" "$2"
        fi
}
skip() {
        skipped=$((skipped + 1))
        echo "SKIPPED: lint: $1"
}

sources=$(git ls-files '*.c' '*.h' | grep -v '^tests/vm/kmod/')
product=$(git ls-files 'pkg/*.[ch]' 'cmd/*.[ch]')

# 1. Functions that have a better sister (base/str.h, base/fs.h, base/alloc.h).
banned='strtok|sprintf|vsprintf|strcpy|strcat|strncat|strncpy|atoi|atol|atof|gets|system|popen|usleep|tmpnam|mktemp'
check "banned functions" "$(grep -nEw "($banned) *\(" $product || true)"

# 2. The direction of dependencies (docs/architecture.md).
may() { # may ROOM: rooms it may include
        case $1 in
        base) echo base ;;
        core) echo base core ;;
        config) echo base core config ;;
        present) echo base core present ;;
        host) echo base core host ;;
        sim) echo base core host sim ;;
        hands) echo base core host sim hands ;;
        claims) echo base core host hands claims ;;
        rpc) echo base rpc ;;
        kubelet) echo base core config claims rpc kubelet ;;
        node) echo base core claims rpc present node ;;
        agent) echo base core config host sim hands claims rpc kubelet node present observe agent ;;
        *) echo base core ;;
        esac
}
wrong=
for room in pkg/*/; do
        room=$(basename "$room")
        allowed=" $(may "$room") "
        while IFS=: read -r file line text; do
                to=$(sed -nE 's/.*#include "([a-z]+)\/.*/\1/p' <<<"$text")
                [ -n "$to" ] && [ -d "pkg/$to" ] && [[ $allowed != *" $to "* ]] && wrong+="$file:$line: $room may not include $to"$'\n'
        done < <(grep -nE '^#include "[a-z]+/' "pkg/$room"/*.[ch] /dev/null 2>/dev/null)
done
check "direction of dependencies" "$wrong"
check "gRPC is included by pkg/rpc (and the tests' own peers) only" "$(grep -ln '#include <grpc/' $(git ls-files 'pkg/*' 'cmd/*') | grep -v '^pkg/rpc/' || true)"
check "core makes no system call" "$(grep -nE '#include <(unistd|fcntl|sys/(stat|socket|ioctl|mman)|time|uv|poll)\.h>|[^_]log_(info|warn|error|debug)\(' pkg/core/*.[ch] || true)"
check "no exit outside main" "$(grep -nEw '(exit|_exit) *\(' $(git ls-files 'pkg/*.c') | grep -vE 'pkg/hands/zygote\.c' || true)"

top='.ci .clang-format .editorconfig .gitignore CHANGELOG.md CONTRIBUTING.md COPYRIGHT LICENSE Makefile README.md SECURITY.md VERSION
api charts cmd deploy docs pkg tests'
check "the top level is fixed" "$(git ls-files | cut -d/ -f1 | sort -u | grep -vxF "$(tr ' ' '\n' <<<"$top")" || true)"

# 3. Headers stand alone; files say their licence.
alone=$(for h in $(git ls-files 'pkg/*.h'); do
        printf '#include "%s"\n' "${h#pkg/}" | gcc -std=gnu11 -D_GNU_SOURCE -Ipkg -Ibuild/debug-werror/gen -fsyntax-only -x c - 2>&1 | head -n 2 | sed "s|^|$h: |"
done)
check "headers are self-contained" "$alone"
check "licence line" "$(grep -L 'SPDX-License-Identifier' $sources $(git ls-files '*.sh' '*.proto') || true)"

# A reason that nothing gives is a promise in docs/reasons.md that nothing keeps.
dead=$(for reason in $(sed -nE 's/^ *X\(([A-Z_]+), "[a-z].*/\1/p' pkg/core/reason.h); do
        grep -hE "REASON_$reason\b" $(git ls-files 'pkg/*.c') | grep -qv '^ *case REASON_' || echo "REASON_$reason"
done)
check "every reason is given by something" "$dead"

# 4. Paths and unfinished marks.
check "unfinished marks" "$(grep -nE '\b(TODO|FIXME|XXX|HACK)\b' $sources | grep -v tests/lint || true)"

check "papers that are not in this tree" "$(git grep -nIE '(^|[^a-z/])(facts|shared)/[a-z-]+\.md|design (section|§)' -- . ':!tests/lint' || true)"
# Links of the documents to files and their headings, in this tree and where they are installed.
headings() {
        awk '/^```/ { block = !block }
             !block && sub(/^#+ /, "") { $0 = tolower($0); gsub(/[^a-z0-9 _-]/, ""); gsub(/ /, "-"); print }' "$1"
}
links() { # links ROOT: pages on the input
        while read -r page; do
                grep -oE '\]\([^): ]+' "$1/$page" | cut -c3- | grep -v '^https*$' | while read -r to; do
                        file=${to%%#*}
                        file=$1/${file:+$(dirname "$page")/}${file:-$page}
                        [ -e "$file" ] && { [[ $to != *#* ]] || headings "$file" | grep -qxF -- "${to#*#}"; } || echo "$page: $to"
                done
        done
}
check "links of the documents" "$(git ls-files '*.md' | links .)"
installed=$(mktemp -d)
trap 'rm -rf "$installed"' EXIT
make -s install-docs DESTDIR="$installed" PREFIX= >/dev/null
check "links of the installed documents" "$(cd "$installed/share/doc/sluice" && find . -name '*.md' | links .)"

keys() { grep -oE "$1" | grep -oE '[a-z][A-Za-z.]*(\[\][A-Za-z.]*)*' | sort; }
check "sluice-config(5) has the keys of docs/config.md" "$(diff <(grep -E '^\| `' docs/config.md | keys '^\| `[^`]+`') \
        <(grep -A1 '^\.TP' "$installed/share/man/man5/sluice-config.5" | grep '^\.B ' | keys '^\.B .*') || true)"

# "..." stands for what the log puts there.
check "what docs/troubleshooting.md quotes of the log is said by something" "$(grep -oE 'log: `[^`]+`' docs/troubleshooting.md |
        sed -E 's/^log: `//; s/`$//; s/ *\.\.\.,? */\n/g' | sed -E 's/[: ]+$//' | grep . | while read -r text; do
        git grep -qF -- "$text" pkg cmd || echo "$text"
done)"

# 5. Tools.
if command -v clang-format >/dev/null; then
        unformatted=$(make -s format CHECK=1 2>&1) && unformatted=
        check "clang-format (make format mends it)" "$(head -n 40 <<<"$unformatted")"
else
        skip "clang-format is not installed"
fi
if command -v cppcheck >/dev/null; then
        # It is not shown the system's headers: what the generated files need of protobuf-c's is said here.
        generated=(-DPROTOBUF_C_VERSION_NUMBER=1004001 -DPROTOBUF_C_MIN_COMPILER_VERSION=1000000 -DPROTOBUF_C__BEGIN_DECLS= -DPROTOBUF_C__END_DECLS=)
        check "cppcheck" "$(cppcheck --quiet --error-exitcode=0 --std=c11 -Ipkg -Ibuild/debug-werror/gen -D_GNU_SOURCE -DSLUICE_VERSION='""' --inline-suppr "${generated[@]}" \
                --suppress=missingIncludeSystem --enable=warning,portability $(git ls-files 'pkg/*.c' 'cmd/*.c') 2>&1 | grep -vE '^(Checking|nofile)' | head -n 40)"
else
        skip "cppcheck is not installed"
fi
if command -v shellcheck >/dev/null; then
        check "shellcheck" "$(shellcheck -S warning -x $(git ls-files '*.sh') .ci/run 2>&1 | head -n 60)"
else
        skip "shellcheck is not installed"
fi
if command -v man >/dev/null; then
        check "man pages" "$(for m in "$installed"/share/man/man?/*; do MANROFFSEQ='' man --warnings -E UTF-8 -l -Tutf8 -Z "$m" 2>&1 >/dev/null | sed "s|^|$m: |"; done)"
else
        skip "man is not installed"
fi

# 6. A smoke alarm, not a ruler: the longest functions and files, printed.
if command -v ctags >/dev/null; then
        echo "lint: longest functions"
        ctags -x --c-kinds=f --fields=+ne -o - --_xformat='%{line} %{end} %{input} %{name}' $(git ls-files 'pkg/*.c' 'cmd/*.c') 2>/dev/null |
                awk '{ print $2 - $1 + 1, $3 ":" $1, $4 }' | sort -rn | head -n 8 | sed 's/^/  /'
fi
echo "lint: longest files"
wc -l $(git ls-files 'pkg/*.c' 'cmd/*.c') | sort -rn | sed -n 2,6p
echo "lint: $passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && { [ "${STRICT:-0}" != 1 ] || [ "$skipped" = 0 ]; }
