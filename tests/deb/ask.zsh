# SPDX-License-Identifier: Apache-2.0
# ask.zsh DIRECTORY LINE: the words that zsh completes for LINE with the functions in DIRECTORY, one a line.
zmodload zsh/zpty
zpty asked zsh -f -i
zpty -w asked "PS1=; PS2=; stty -echo -onlcr; fpath=($1 \$fpath); autoload -Uz compinit; compinit -u -D"
# Whoever completes calls compadd: the words that it would show are said between marks, and nothing is inserted.
zpty -w asked 'compadd() {
        if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi
        local -a told; builtin compadd -A told "$@"; print -rl -- "SAID="${^told}; builtin compadd "$@" }
zstyle ":completion:*" list-grouped false; bindkey "^I" complete-word
finished() { print -r -- DONE=; }; compprefuncs=(); comppostfuncs=(finished)
print -r -- READY='
while zpty -r asked line && [[ $line != *READY=* ]]; do :; done
zpty -w -n asked "$2"$'\t'
while zpty -t asked || sleep 0.05 && zpty -r asked line && [[ $line != *DONE=* ]]; do
        [[ $line == *SAID=* ]] && print -r -- "${${line##*SAID=}%%[[:space:]]*}"
done
zpty -d asked
