#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Fills the folder that the guest mounts as /share: the programs given, the libraries they need and the stand-in driver.
#
#   share.sh SHARE KERNEL_DIR PROGRAM...
set -euo pipefail
export LC_ALL=C
share=$1 kernel=$2
shift 2
mkdir -p "$share/bin" "$share/lib"
cp -u "$kernel/nvidia.ko" "$share/"
for p in "$@"; do
        cp -u "$p" "$share/bin/"
        # "libx.so => /path/libx.so (...)" and the loader, "/lib64/ld-linux-x86-64.so.2 (...)"
        # A static program has none.
        { ldd "$p" 2>/dev/null | grep -o '/[^ ]*' || true; } | while read -r lib; do cp -Lu "$lib" "$share/lib/"; done
done
for name in holder logged blind-logged in-pod; do ln -sfn vmtest "$share/bin/$name"; done
