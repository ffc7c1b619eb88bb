# SPDX-License-Identifier: Apache-2.0
# Reads what one verb says with --help; generate.sh says what it prints.
BEGIN { OFS = "\t" }
NR == 1 && /DEVICE/ { print "device", verb }
# "  -o, --output FORMAT  table (default), wide, json or yaml", "  --version, --help"
match($0, /^  -/) {
        finish()
        text = substr($0, 3)
        at = match(text, /   */)
        n = split(at ? substr(text, 1, at - 1) : text, words, /[ ,]+/)
        summary = at ? substr(text, at + RLENGTH) : ""
        argument = ""
        for (i = 1; i <= n; i++)
                if (words[i] !~ /^-/)
                        argument = words[i]
                else if (summary != "")
                        names = names (names == "" ? "" : " ") words[i]
                else # several in one line, which explain themselves
                        print "option", verb, words[i], "flag", "", ""
        next
}
# The rest of a long explanation.
names != "" && /^         / { sub(/^ +/, " "); summary = summary $0; next }
{ finish() }
# "  unplug BDF                a device falls off the bus"
verb != "" && match($0, /^  [a-z][a-z-]* /) {
        what = substr($0, 3)
        sub(/^.*[^ ]   */, "", what)
        print "word", verb, $1, short(what)
}
END {
        finish()
        if (verb != "")
                print "option", verb, "--help", "flag", "", ""
}
function finish()
{
        if (names != "")
                print "option", verb, names, kind(argument), argument ~ /^(FORMAT|LEVEL)$/ ? choices(summary) : "", \
                      argument ~ /^(FORMAT|LEVEL)$/ ? tolower(argument) : short(summary)
        names = ""
}
# Its first clause.
function short(text)
{
        sub(/(; |[.] |: | [(]).*/, "", text)
        return text
}
function kind(argument)
{
        if (argument == "")
                return "flag"
        if (argument ~ /^(FORMAT|LEVEL)$/)
                return "choice"
        if (argument == "DIR")
                return "directory"
        return argument ~ /^(FILE|PATH|PROGRAM)/ ? "file" : "value"
}
# "table (default), wide (with the remedies), json, yaml or markdown": "table wide json yaml markdown"
function choices(summary)
{
        gsub(/ *\([^)]*\)/, "", summary)
        gsub(/, | or /, " ", summary)
        return summary
}
