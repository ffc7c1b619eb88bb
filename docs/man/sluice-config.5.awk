# SPDX-License-Identifier: Apache-2.0
# sluice-config(5) from docs/config.md (`make install` runs it): awk -v version=0.1.0 -f sluice-config.5.awk docs/config.md
# Knows the markdown that the page uses: headings, paragraphs, lists of one level, tables of keys, fenced blocks.
function escape(text) {
        gsub(/\\/, "\\e", text)
        gsub(/-/, "\\-", text)
        return text
}
function prose(text,    n, parts, i, out) { # what is between backticks is bold and otherwise left alone
        n = split(text, parts, "`")
        for (i = 1; i <= n; i++) {
                if (i % 2 == 0) {
                        out = out "\\fB" escape(parts[i]) "\\fR"
                        continue
                }
                parts[i] = escape(parts[i])
                gsub(/\*\*/, "", parts[i])
                gsub(/\*/, "", parts[i])
                while (match(parts[i], /\[[^]]*\]\([^)]*\)/)) {
                        link = substr(parts[i], RSTART + 1, RLENGTH - 1)
                        sub(/\].*/, "", link)
                        parts[i] = substr(parts[i], 1, RSTART - 1) link substr(parts[i], RSTART + RLENGTH)
                }
                out = out parts[i]
        }
        return out
}
function say(text) {
        print (text ~ /^['.]/ ? "\\&" : "") text
}
BEGIN {
        print ".\\\" Made from docs/config.md by docs/man/sluice-config.5.awk"
        printf ".TH SLUICE\\-CONFIG 5 \"\" \"Sluice %s\" \"Sluice\"\n", version
        print ".SH NAME\nsluice\\-config \\- the configuration file of sluiced\n.SH DESCRIPTION"
}
/^```/ {
        block = !block
        print block ? ".PP\n.RS 4\n.nf" : ".fi\n.RE"
        next
}
block { say(escape($0)); next }
/^# / { next }
/^## / { sub(/^## /, ""); print ".SH " toupper(prose($0)); next }
/^\|---/ { next }
/^\| `/ {
        sub(/^\| /, "")
        sub(/ \|$/, "")
        gsub(/ \| \| /, " |  | ")
        split($0, cell, / \| /) # key, type, default, meaning
        gsub(/`/, "", cell[1])
        print ".TP\n.B " escape(cell[1])
        say(prose(cell[2] (cell[3] == "" ? "" : "; default: " cell[3]) "."))
        print ".br"
        say(prose(cell[4] "."))
        next
}
/^\|/ { next }
/^- / { sub(/^- /, ""); print ".IP \\(bu 2"; say(prose($0)); next }
/^$/ { print ".PP"; next }
{ sub(/^ +/, ""); say(prose($0)) }
END {
        print ".SH FILES\n.TP\n.I /etc/sluice/config.yaml"
        print ".SH SEE ALSO\n.BR sluiced (8),\n.BR sluicectl (1)"
}
