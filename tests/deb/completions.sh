#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# completions.sh SHELL ROOT: asks the shell what it completes with what is installed below ROOT, and compares with what the programs say
# that they have. ROOT/usr/bin/sluicectl is on the path.
set -uo pipefail
export LC_ALL=C
shell=$1 root=$2
top=$(cd "$root" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export PATH="$top/usr/bin:$top/usr/sbin:$PATH"

ask_bash() { # each: the words that are completed for a line
        # shellcheck disable=SC2016
        BASH_COMPLETION_USER_DIR=/nonexistent bash --norc -c '
                . "$1"
                read -ra COMP_WORDS <<<"$2"
                [[ $2 != *" " ]] || COMP_WORDS+=("")
                COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$2 COMP_POINT=${#2}
                "_${COMP_WORDS[0]}"
                printf "%s\n" "${COMPREPLY[@]}"' _ "$root/usr/share/bash-completion/completions/${1%% *}" "$1"
}
ask_fish() {
        fish --no-config -c "source $root/usr/share/fish/vendor_completions.d/${1%% *}.fish; complete -C '$1'" | cut -f1
}
# zsh completes at a terminal only: one is made, and compadd says what it was given.
ask_zsh() {
        zsh -f "$(dirname "$0")/ask.zsh" "$root/usr/share/zsh/vendor-completions" "$1" | tr -d '\r'
}
wrong=0
expect() { # expect LINE WORD...: each is completed
        local line=$1 said
        shift
        said=$("ask_$shell" "$line" 2>&1)
        for word; do
                grep -qxF -- "$word" <<<"$said" || { echo "'$line': $word is not completed"; wrong=1; }
        done
        wanted=$(printf '%s\n' "$@")
        [ -n "${exact:-}" ] && grep -vxF -- "$wanted" <<<"$said" | grep . | sed "s/^/'$line': not asked for: /" && wrong=1
        return 0
}
# What a program says it has, by another reading than that of the generator: whatever looks like a long option at the head of a line.
options() { "$@" --help | sed -nE 's/^  (-., )?(--[a-z-]+(, --[a-z-]+)*).*/\2/p' | tr -s ', ' '\n'; }

mapfile -t verbs < <(sluicectl help | sed -nE 's/^  ([a-z-]+) .*/\1/p')
[ "${#verbs[@]}" -ge 11 ] || { echo "only ${#verbs[@]} verbs"; wrong=1; }
exact=1 expect "sluicectl " "${verbs[@]}"
for verb in "${verbs[@]}"; do
        case $verb in help | version) continue ;; esac
        mapfile -t have < <(options sluicectl "$verb")
        exact=1 expect "sluicectl $verb --" "${have[@]}" --help
        # What is completed, the program knows. An option with a value takes the next word for it, be it a file to write.
        for option in "${have[@]}"; do
                (cd "$scratch" && sluicectl "$verb" "$option" --help 2>&1 </dev/null) | grep -qiE "unknown|no such option|unrecognized" && { echo "$verb $option is not known"; wrong=1; }
        done
done
mapfile -t have < <(options sluiced)
[ "${#have[@]}" -ge 15 ] || { echo "only ${#have[@]} options of sluiced"; wrong=1; }
exact=1 expect "sluiced --" "${have[@]}"
exact=1 expect "sluicectl inventory --output " table wide json yaml
exact=1 expect "sluicectl reasons --output " table wide json yaml markdown
exact=1 expect "sluiced --log-level " error warn info debug
expect "sluicectl sim " unplug plug fault hold
exit $wrong
