#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# root.sh FILE: a minimal Debian 12 with systemd, as a tar archive, of the packages that apt gets. Nothing of Sluice is in it.
set -euo pipefail
mmdebstrap --format=tar --variant=minbase --include=systemd-sysv,man-db,kmod,procps --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/sluice/*' \
        --customize-hook='rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/* "$1"/usr/lib/udev/hwdb.bin' bookworm "$1.new"
mv "$1.new" "$1"
