# SPDX-License-Identifier: Apache-2.0
# For bash. Addresses have colons, which bash takes for ends of words: bash-completion's helpers put them together again.
$1 == "verb" { verbs = verbs " " $2; names[++n_verbs] = $2 }
$1 == "word" { words[$2] = words[$2] " " $3 }
$1 == "device" { device[$2] = 1 }
$1 == "option" {
        seen[$2] = 1
        options[$2] = options[$2] " " $3
        if ($4 == "flag")
                next
        pattern = $3
        gsub(/ /, "|" $2 ":", pattern)
        pattern = $2 ":" pattern
        answer = $4 == "choice" ? "compgen -W \"" $5 "\" -- \"$cur\"" : $4 == "directory" ? "compgen -d -- \"$cur\"" : \
                 $4 == "file" ? "compgen -f -- \"$cur\"" : ":"
        cases = cases "        " pattern ") mapfile -t COMPREPLY < <(" answer ") ;;\n"
        if ($4 == "directory" || $4 == "file")
                files = files (files == "" ? "" : "|") pattern
}
END {
        print "# bash completion for " program ", made from what it says with --help."
        print "_" program "() {"
        print "    local cur prev words cword verb=\n    COMPREPLY=()"
        print "    if declare -F _get_comp_words_by_ref >/dev/null; then"
        print "        _get_comp_words_by_ref -n : cur prev words cword"
        print "    else"
        print "        cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=(\"${COMP_WORDS[@]}\") cword=$COMP_CWORD"
        print "    fi"
        if (n_verbs) {
                print "    if [ \"$cword\" = 1 ]; then\n        mapfile -t COMPREPLY < <(compgen -W \"" substr(verbs, 2) "\" -- \"$cur\")\n        return\n    fi"
                print "    verb=${words[1]}"
        }
        print "    case $verb:$prev in"
        printf "%s", cases
        print "        *) _" program "_words ;;\n    esac"
        if (files != "")
                print "    case $verb:$prev in\n        " files ") compopt -o filenames 2>/dev/null ;;\n    esac"
        print "    if declare -F __ltrim_colon_completions >/dev/null; then __ltrim_colon_completions \"$cur\"; fi\n}"
        print "_" program "_words() {\n    case $verb:$cur in"
        for (verb in seen)
                print "        " verb ":-*) mapfile -t COMPREPLY < <(compgen -W \"" substr(options[verb], 2) "\" -- \"$cur\") ;;" | "sort"
        close("sort")
        if (n_verbs)
                print "        help:*) mapfile -t COMPREPLY < <(compgen -W \"" substr(verbs, 2) "\" -- \"$cur\") ;;"
        for (verb in words)
                print "        " verb ":*) mapfile -t COMPREPLY < <(compgen -W \"" substr(words[verb], 2) "\" -- \"$cur\") ;;" | "sort"
        close("sort")
        for (verb in device)
                print "        " verb ":*) mapfile -t COMPREPLY < <(compgen -W \"$(_" program "_devices)\" -- \"$cur\") ;;" | "sort"
        close("sort")
        print "    esac\n}"
        if (length(device))
                print "_" program "_devices() {\n    timeout 2 \"${words[0]}\" inventory --output json 2>/dev/null | sed -nE 's/^ *\"id\": \"([^\"]+)\".*/\\1/p'\n}"
        print "complete -F _" program " " program
}
