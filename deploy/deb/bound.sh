# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# What Sluice has bound and nobody has given back: a line each. The records are named after the addresses; a driver is a directory's name.
bound() {
        for record in /var/lib/sluice/originals/*.record; do
                [ -e "$record" ] || continue
                address=$(basename "$record" .record)
                driver=$(readlink "/sys/bus/pci/devices/$address/driver") || continue
                was=$(sed -nE 's/.*"driver":"([A-Za-z0-9_-]*)".*/\1/p' "$record")
                echo "  $address on ${driver##*/}, before that on ${was:-no driver}"
        done
}
