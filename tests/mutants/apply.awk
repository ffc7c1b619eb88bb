# SPDX-License-Identifier: Apache-2.0
# awk -f apply.awk MUTANT SOURCE: prints SOURCE with the mutant's hunks for it ("in SOURCE") in place. A hunk is a run of lines
# that begin with ' ' (stays), '-' (goes) or '+' (comes); what stays and goes must be found in SOURCE exactly once, indentation
# aside. Otherwise: exit 1, and says which hunk.
function bare(s) {
        gsub(/^[ \t]+|[ \t]+$/, "", s)
        return s
}
function end_hunk() {
        if (n_old || n_new)
                sizes[++n_hunks] = n_old
        n_old = n_new = 0
}
FNR == NR && /^in / {
        ours = $2 == ARGV[2]
}
FNR == NR && /^[-+ ]/ {
        if (!ours)
                next
        if (substr($0, 1, 1) != "+")
                old[n_hunks + 1, ++n_old] = bare(substr($0, 2))
        if (substr($0, 1, 1) != "-")
                new[n_hunks + 1, ++n_new] = substr($0, 2)
        news[n_hunks + 1] = n_new
        next
}
FNR == NR {
        end_hunk()
        next
}
FNR == 1 {
        end_hunk()
}
{
        line[FNR] = $0
        n = FNR
}
function is_at(h, at,    k) {
        for (k = 1; k <= sizes[h]; k++)
                if (bare(line[at + k - 1]) != old[h, k])
                        return 0
        return sizes[h] > 0
}
END {
        for (h = 1; h <= n_hunks; h++) {
                found = 0
                for (i = 1; i + sizes[h] - 1 <= n; i++)
                        if (is_at(h, i)) {
                                found++
                                start[i] = h
                        }
                if (found != 1) {
                        print "hunk " h " is found " found " times" > "/dev/stderr"
                        exit 1
                }
        }
        if (!n_hunks) {
                print "no hunk" > "/dev/stderr"
                exit 1
        }
        for (i = 1; i <= n; i++) {
                if (!(i in start)) {
                        print line[i]
                        continue
                }
                h = start[i]
                for (k = 1; k <= news[h]; k++)
                        print new[h, k]
                i += sizes[h] - 1
        }
}
