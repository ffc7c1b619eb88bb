# SPDX-License-Identifier: Apache-2.0
# For fish.
BEGIN { quote = "'" }
$1 == "verb" { verbs = verbs " " $2; line(begin("__fish_use_subcommand") " -f -a " $2 " -d " quoted($3)) }
$1 == "word" { line(begin("__fish_seen_subcommand_from " $2) " -f -a " $3 " -d " quoted($4)) }
$1 == "device" { device = device " " $2 }
$1 == "option" {
        text = $2 == "" ? "complete -c " program : begin("__fish_seen_subcommand_from " $2)
        n = split($3, names, " ")
        for (i = 1; i <= n; i++)
                text = text (names[i] ~ /^--/ ? " -l " substr(names[i], 3) : " -s " substr(names[i], 2))
        text = text ($4 == "choice" ? " -x -a " quoted($5) : $4 == "directory" ? " -x -a '(__fish_complete_directories)'" : \
                     $4 == "file" ? " -r -F" : $4 == "value" ? " -x" : " -f")
        line(text ($6 == "" ? "" : " -d " quoted($6)))
}
END {
        print "# fish completion for " program ", made from what it says with --help."
        if (device != "") {
                print "function __" program "_devices\n    timeout 2 " program " inventory --output json 2>/dev/null | string match -rg '^ *\"id\": \"([^\"]+)\"'\nend"
                line(begin("__fish_seen_subcommand_from" device) " -f -a '(__" program "_devices)'")
        }
        if (verbs != "")
                line(begin("__fish_seen_subcommand_from help") " -f -a " quoted(substr(verbs, 2)))
        printf "%s", lines
}
function begin(condition) { return "complete -c " program " -n '" condition "'" }
function line(text) { lines = lines text "\n" }
function quoted(text) { gsub(/\\/, "\\\\", text); gsub(quote, "\\" quote, text); return quote text quote }
