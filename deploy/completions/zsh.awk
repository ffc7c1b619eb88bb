# SPDX-License-Identifier: Apache-2.0
# For zsh.
$1 == "verb" { verbs = verbs " " quoted($2 ":" $3); names = names " " $2 }
$1 == "word" { positional[$2] = positional[$2] " " $3 "\\:" doubly(zsh_text($4)) }
$1 == "device" { device[$2] = 1 }
$1 == "option" {
        n = split($3, names_of, " ")
        text = $6 == "" ? "" : "[" zsh_text($6) "]"
        action = $4 == "flag" ? "" : $4 == "choice" ? ":" $4 ":(" $5 ")" : $4 == "directory" ? ":directory:_files -/" : \
                 $4 == "file" ? ":file:_files" : ":value:"
        for (i = 1; i <= n; i++) {
                long = names_of[i] ~ /^--/
                options[$2] = options[$2] " \\\n            " quoted("(" $3 ")" names_of[i] (action == "" ? "" : long ? "=" : "+") text action)
        }
}
END {
        print "#compdef " program "\n# zsh completion for " program ", made from what it says with --help."
        print "_" program "() {"
        if (verbs == "") {
                print "    _arguments" options[""] "\n}"
        } else {
                print "    local -a verbs=(" substr(verbs, 2) ")"
                print "    if (( CURRENT == 2 )); then\n        _describe -t verbs verb verbs\n        return\n    fi"
                print "    local program=$words[1]\n    shift words\n    (( CURRENT-- ))\n    case $words[1] in"
                for (verb in options) {
                        rest = verb in positional ? " \\\n            " quoted("1:action:((" substr(positional[verb], 2) "))") " " quoted("*::word:") : \
                               verb in device ? " \\\n            " quoted("1:device:_" program "_devices") : ""
                        line[verb] = "        " verb ") _arguments" options[verb] rest " ;;"
                }
                n = split(substr(names, 2), order, " ")
                for (i = 1; i <= n; i++)
                        if (order[i] in line)
                                print line[order[i]]
                print "        help) _describe -t verbs verb verbs ;;\n    esac\n}"
                print "_" program "_devices() {\n    local -a devices=(${(f)\"$(timeout 2 $program inventory --output json 2>/dev/null | sed -nE 's/^ *\"id\": \"([^\"]+)\".*/\\1/p')\"})"
                print "    compadd -a devices\n}"
        }
        print "_" program " \"$@\""
}
function quoted(text) { gsub(/'/, "'\\''", text); return "'" text "'" }
function zsh_text(text) { gsub(/[]():\\[]/, "\\\\&", text); return text }
# Inside ((...)) of a quoted word: once more for the blanks.
function doubly(text) { gsub(/ /, "\\ ", text); gsub(/'/, "", text); return text }
