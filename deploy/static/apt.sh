# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# To be sourced. apt_private DIR TYPE: an apt configuration below DIR with the machine's Debian sources as entries of TYPE (deb,
# deb-src), in the array apt_options. The machine's own lists are neither edited nor filled.

# The machine's entries for Debian's binary packages, as TYPE.
apt_sources() {
        cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list 2>/dev/null | sed -n "s/^deb \(\[[^]]*\] \)\{0,1\}\(.*debian.*\)$/$1 \1\2/p" || true
        for file in /etc/apt/sources.list.d/*.sources; do
                [ -f "$file" ] || continue
                awk -v type="$1" 'BEGIN { RS = ""; FS = "\n" }
                     { uri = suites = parts = key = ""; on = 1
                       for (i = 1; i <= NF; i++) {
                               if ($i ~ /^#/) continue
                               split($i, kv, ": "); v = substr($i, length(kv[1]) + 3)
                               if (kv[1] == "URIs") uri = v
                               if (kv[1] == "Suites") suites = v
                               if (kv[1] == "Components") parts = v
                               if (kv[1] == "Signed-By") key = v
                               if (kv[1] == "Enabled" && v == "no") on = 0 }
                       if (on && uri ~ /debian/) {
                               n = split(suites, s, " ")
                               for (k = 1; k <= n; k++)
                                       print type " " (key ~ /^\// ? "[signed-by=" key "] " : "") uri " " s[k] " " parts } }' "$file"
        done
}
apt_private() {
        mkdir -p "$1/lists/partial" "$1/cache/archives/partial"
        apt_sources "$2" > "$1/sources.list"
        [ -s "$1/sources.list" ] || { echo "no Debian package source is configured on this machine" >&2; return 1; }
        # shellcheck disable=SC2034 # for who sources this
        apt_options=(-qq -o "Dir::Etc::SourceList=$1/sources.list" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$1/lists"
                -o "Dir::Cache=$1/cache" -o APT::Sandbox::User=root)
}
