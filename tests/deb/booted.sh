#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# booted.sh: in the guest, under its systemd: the package on a real kernel with two cards. Says TAP on the second serial port, and ends the guest.
set -uo pipefail
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive HOME=/root
gpu=0000:01:00.0 other=0000:02:00.0
pci=/sys/bus/pci/devices
n=0 failed=0
check() { # check NAME COMMAND...
        local name=$1 said
        shift
        n=$((n + 1))
        if said=$("$@" 2>&1); then echo "ok $n - $name"; else
                failed=1
                printf 'not ok %s - %s\n' "$n" "$name"
                sed 's/^/# /' <<<"$said"
                sluicectl inventory 2>&1 | sed 's/^/# /'
                journalctl -q -u sluiced --no-pager -o cat | tail -n 15 | sed 's/^/# log: /'
        fi
}
soon() { # soon COMMAND...: within 30 s, which is a hundred times what it takes
        local until=$((SECONDS + 30))
        while [ $SECONDS -lt $until ]; do "$@" >/dev/null 2>&1 && return; sleep 0.2; done
        "$@"
}
driver() { local to; to=$(readlink "$pci/$1/driver"); echo "${to##*/}"; }
is_on() { [ "$(driver "$1")" = "$2" ]; }
says() { sluicectl health | grep -F "$1"; }
main() { systemctl show -P MainPID sluiced; }
config() { printf 'apiVersion: sluice.dev/v1alpha1\nkind: NodeConfig\nregistration: none\nrescan: 10m\nrules:\n  - select: {ids: ["10de:26b9"]}\n    bind: %s\n' "$1" >/etc/sluice/config.yaml; }

installed() { dpkg -i /share/older.deb && systemctl is-active sluiced && systemctl is-enabled sluiced && says "nothing is offered"; }
untouched() { is_on $gpu "" && is_on $other ""; }
has_module() { [ -d /sys/bus/pci/drivers/vfio-pci ]; }
binds() { config at-start && systemctl restart sluiced && is_on $gpu vfio-pci && is_on $other vfio-pci && says "ready: 2 of 2 devices in 1 pools are healthy"; }
rights() { # of the daemon and of the helper that touches hardware
        local pid
        for pid in $(main) $(pgrep -x sluice-hand); do
                grep -E '^CapBnd:\s+0000000000280005$' "/proc/$pid/status" && grep -E '^NoNewPrivs:\s+1$' "/proc/$pid/status" && grep -E '^Seccomp:\s+2$' "/proc/$pid/status" ||
                        { cat "/proc/$pid/status"; return 1; }
        done
}
confined() { # what the unit leaves to be written to, by the kernel's own word
        local mounts
        mounts=$(grep -hoE ' (/|/sys|/sys/bus/pci|/sys/devices|/var/lib/sluice|/run/sluice|/proc/sys) r[wo][, ]' <(sed -E 's/^[^ ]+ [^ ]+ [^ ]+ [^ ]+( [^ ]+ [^ ]+).*/\1,/' "/proc/$(main)/mountinfo") | sort -u | tr -d ',')
        [ "$mounts" = " / ro
 /proc/sys ro
 /run/sluice rw
 /sys ro
 /sys/bus/pci rw
 /sys/devices rw
 /var/lib/sluice rw" ] || { echo "$mounts"; return 1; }
        [ "$(readlink "/proc/$(main)/ns/net")" != "$(readlink /proc/self/ns/net)" ]
}
private() { [ "$(stat -c '%a %U' /run/sluice /var/lib/sluice | sort -u)" = "700 root" ]; }
holder() { # is named, although it is another's process
        exec 7<>"/dev/vfio/$(basename "$(readlink $pci/$gpu/iommu_group)")" || return
        local self=$BASHPID status
        sluicectl explain $gpu | grep -E "\b$self\b"
        status=$?
        exec 7>&-
        return $status
}
notices() { # an event of the kernel, in a network of its own
        echo 1 >$pci/$other/remove && soon says "1 of 2 devices" && echo 1 >/sys/bus/pci/rescan && soon says "2 of 2 devices"
}
reloads() {
        config never && systemctl reload sluiced && soon eval 'sluicectl explain $gpu | grep -F "bind never"' && config at-start && systemctl reload sluiced &&
                soon eval 'sluicectl explain $gpu | grep -F "bind at-start"'
}
upgraded() {
        local before
        before=$(main) && config at-start && dpkg -i --force-confdef --force-confold /share/newer.deb && [ "$(main)" != "$before" ] && systemctl is-active sluiced &&
                grep -q at-start /etc/sluice/config.yaml && is_on $gpu vfio-pci && says "2 of 2"
}
killed() { kill -9 "$(main)" && soon says "2 of 2" && is_on $gpu vfio-pci; }
quiet() { # a healthy life has no denied call and no failed start
        ! journalctl -q -u sluiced -p err --no-pager | grep . && ! journalctl -q --no-pager | grep -E "audit.*(SECCOMP|sluice)|sluiced.*(Read-only|not permitted)"
}
removed() {
        dpkg -r sluice >/tmp/said 2>&1 && cat /tmp/said && grep -F "$gpu on vfio-pci, before that on no driver" /tmp/said && ! pgrep sluice && [ ! -e /run/sluice/node.sock ] &&
                is_on $gpu vfio-pci && [ "$(systemctl is-active sluiced)" = inactive ] && [ -e /etc/sluice/config.yaml ]
}
purged() {
        dpkg -P sluice >/tmp/said 2>&1 && cat /tmp/said && grep -F "stay bound" /tmp/said && grep -F "$other on vfio-pci" /tmp/said && is_on $other vfio-pci &&
                ! find /etc /usr /var/lib /run -xdev -name '*sluice*' | grep -v '^/var/lib/dpkg/'
}

echo "PLAN 15"
echo "# booted at $(cut -d' ' -f1 /proc/uptime)"
check "installed, the service is active, enabled and ready" installed
check "and has bound nothing" untouched
check "vfio-pci is there: the unit wants its module" has_module
check "a rule that says at-start binds both cards before systemctl returns" binds
check "daemon and helper have four capabilities and a filter of system calls" rights
check "what can be written to is what is documented" confined
check "state and run directory are root's own" private
check "a process that has a device open is named" holder
check "the kernel's events arrive" notices
check "reload puts a changed configuration in force" reloads
check "an upgrade restarts it, with what was configured and bound" upgraded
check "killed, it comes back by itself" killed
check "nothing was refused by what confines it" quiet
check "removal stops it, unbinds nothing and says what stays bound" removed
check "purge says so again and leaves nothing of the name" purged
echo "GUEST-EXIT $failed at $(cut -d' ' -f1 /proc/uptime)"
sleep 0.2
printf "\\$(printf %o "$failed")" | dd of=/dev/port bs=1 seek=1281 conv=notrunc 2>/dev/null
poweroff -f -f
