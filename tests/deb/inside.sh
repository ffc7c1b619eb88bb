#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# inside.sh: in the minimal root, which has no init: what dpkg and the programs do there. /test has the two packages and a captured host.
# Ends with "inside: N passed, N failed".
set -uo pipefail
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive HOME=/root
# shellcheck source=tests/deb/count.sh
. /test/count.sh
files() { find / -xdev \( -path /proc -o -path /run -o -path /test -o -path /dev -o -path /sys -o -path /tmp -o -path /var/log -o -path /var/cache \
        -o -path '/var/lib/dpkg/*' -o -path /var/lib/systemd \) -prune -o -print | sort; }
ours() { find /etc /usr /var/lib /run /lib -xdev -name '*sluice*' 2>/dev/null | grep -v '^/var/lib/dpkg/'; }

installed() { dpkg -i /test/older.deb && [ -z "$(dpkg -V sluice)" ] && [ "$(dpkg-query -W -f '${Status}' sluice)" = "install ok installed" ]; }
enabled() { [ -L /etc/systemd/system/multi-user.target.wants/sluiced.service ] && [ "$(systemctl is-enabled sluiced)" = enabled ]; }
verified() { # without a word about our unit
        local said
        said=$(systemd-analyze verify --man=no sluiced.service 2>&1) && [ -z "$(grep -i sluice <<<"$said")" ] || { echo "$said"; return 1; }
}
exposed() { # no more than docs/without-kubernetes.md says
        local told have
        told=$(sed -nE 's/.*exposure level of \*\*([0-9.]+)\*\*.*/\1/p' /usr/share/doc/sluice/docs/without-kubernetes.md)
        have=$(systemd-analyze security --offline=true sluiced.service 2>/dev/null | sed -nE 's/.*Overall exposure level for sluiced.service: ([0-9.]+) .*/\1/p')
        [ "$told" = "$have" ] || { echo "it is $have, the document says '$told'"; return 1; }
}
pages() {
        local page
        for page in "8 sluiced" "8 sluice-hand" "1 sluicectl" "5 sluice-config"; do
                # shellcheck disable=SC2086 # two words
                man $page 2>&1 | grep -q '^SEE ALSO' || { echo "man $page"; return 1; }
        done
}
config_is_good() { sluiced --check-config | grep -F "no rules: the implicit rule is in force"; }

nothing="ready: nothing is offered; 'sluicectl inventory' says why of each of 8 devices"
# As the unit would start it, but for the captured host.
start() {
        # shellcheck disable=SC2046
        $(sed -n 's/^ExecStart=//p' /usr/lib/systemd/system/sluiced.service) --host /test/l40s-8.capture >/dev/null 2>/tmp/log &
        for _ in $(seq 100); do
                [ "$(sluicectl health 2>/dev/null)" = "${1:-$nothing}" ] && return
                sleep 0.1
        done
        sluicectl health
        cat /tmp/log
        return 1
}
stop() {
        kill -TERM "$(pgrep -x sluiced)" || return
        for _ in $(seq 100); do pgrep -x sluiced >/dev/null || return 0; sleep 0.1; done
        return 1
}
works() { start && sluicectl inventory | grep -c L40S | grep -qx 8 && sluicectl inventory | grep -q not-bound; }
private() { [ "$(stat -c %a /run/sluice /var/lib/sluice | tr '\n' ' ')" = "700 700 " ] && [ "$(stat -c %a /run/sluice/node.sock)" = 600 ]; }
ends() { stop && [ ! -e /run/sluice/node.sock ] && ! pgrep sluice; }
changed() { # what an administrator writes survives an upgrade, whatever the new package's file says
        printf 'apiVersion: sluice.dev/v1alpha1\nkind: NodeConfig\nregistration: none\nrules:\n  - bind: at-start\n' >/etc/sluice/config.yaml &&
                sum=$(md5sum </etc/sluice/config.yaml) && touch /var/lib/sluice/kept && dpkg -i --force-confdef --force-confold /test/newer.deb &&
                [ "$(md5sum </etc/sluice/config.yaml)" = "$sum" ] && [ -e /var/lib/sluice/kept ] && enabled
}
binds() { start "ready: 8 of 8 devices in 1 pools are healthy" && stop; }
for_another() { # whose program is not the package's any more, but whose state it is
        local said
        dpkg -i /test/newer.deb >/dev/null && start && said=$(dpkg -P sluice) && grep -F "another sluiced runs on this host" <<<"$said" &&
                [ -e /var/lib/sluice/lock ] && [ -S /run/sluice/node.sock ] && [ ! -e /etc/sluice ] && stop &&
                dpkg -i /test/newer.deb >/dev/null && dpkg -P sluice >/dev/null && [ -z "$(ours)" ] || { echo "$said"; ours; return 1; }
}
says_kubelet() {
        mkdir -p /var/lib/kubelet/device-plugins && dpkg -i /test/newer.deb 2>&1 | grep -F "there is a kubelet on this host" && dpkg -P sluice >/dev/null
}
removed() {
        dpkg -r sluice && [ -e /etc/sluice/config.yaml ] && [ -d /var/lib/sluice ] && [ ! -e /usr/sbin/sluiced ] && ! pgrep sluice && [ ! -S /run/sluice/node.sock ]
}
purged() { dpkg -P sluice && [ -z "$(ours)" ] || { ours; return 1; }; }
as_before() { files | diff /tmp/before -; }
again() { dpkg -i /test/newer.deb >/dev/null && enabled && dpkg -P sluice >/dev/null; }
refused() { # an administrator's mask, and "disabled", outlive upgrades
        dpkg -i /test/older.deb >/dev/null && systemctl disable sluiced >/dev/null 2>&1 && dpkg -i /test/newer.deb >/dev/null &&
                [ "$(systemctl is-enabled sluiced)" = disabled ] && dpkg -P sluice >/dev/null
}

files >/tmp/before
check "it is installed and configured, and its files are as packed" installed
check "the service is enabled" enabled
check "systemd-analyze has nothing to say of the unit" verified
check "its exposure is the one that is documented" exposed
check "its man pages open" pages
check "the configuration that comes along is a good one, and binds nothing" config_is_good
check "started as by the unit, on a captured host: health is ready, the inventory says why nothing is bound" works
check "state and run directory are root's own" private
check "it ends without a socket or a process left" ends
check "an upgrade keeps a changed configuration and the state" changed
check "and the new version works with them" binds
check "removal leaves configuration and state, no program, process or socket" removed
check "purge leaves nothing of the name" purged
check "nor anything else" as_before
check "and it can be installed again" again
check "a service that was disabled stays so" refused
check "purge keeps what a sluiced that still runs has, as of a DaemonSet, and says so" for_another
check "where a kubelet is, the installation says how it is told" says_kubelet
echo "inside: $passed passed, $failed failed"
