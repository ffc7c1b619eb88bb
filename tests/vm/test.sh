#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `make test-vm`: prepares the guest's kernel, fills the shared folder, boots the topologies.
#
#   test.sh BUILD_DIR RUNNER XPCI PROGRAM...
#
# VM=gpu,numa runs some topologies only, VM_ONLY='*held*' some of their tests; VM_SHELL=1 with one of them gives a shell in its guest; VM_TIMEOUT sets the seconds a
# guest may take. A missing prerequisite skips every topology; with STRICT=1 that fails.
# shellcheck disable=SC2207 # paths of topologies have no blanks
set -uo pipefail
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
build=$1 runner=$2 xpci=$3
shift 3

topologies=()
for name in ${VM:+${VM//,/ }}; do
        [ -r "$here/topologies/$name.args" ] || { echo "no topology $name in $here/topologies"; exit 2; }
        topologies+=("$here/topologies/$name.args")
done
# Those that take longest first.
[ -n "${VM:-}" ] || topologies=("$here"/topologies/{gpu,kills}.args $(printf '%s\n' "$here"/topologies/*.args | grep -vE '/(gpu|kills)\.args$'))

log=$(mktemp)
trap 'rm -f "$log"' EXIT
"$here/prepare.sh" build/vm 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
if [ "$status" = 77 ]; then
        echo "SKIPPED: $(tail -n 1 "$log")"
        echo "test-vm: 0 passed, $([ "${STRICT:-0}" = 1 ] && echo 1 || echo 0) failed, ${#topologies[@]} skipped"
        [ "${STRICT:-0}" != 1 ]
        exit
elif [ "$status" != 0 ]; then
        echo "not ok - the guest's kernel cannot be prepared"
        echo "test-vm: 0 passed, 1 failed, 0 skipped"
        exit 1
fi

mkdir -p "$build/vm/log"
"$here/share.sh" "$build/vm/share" build/vm/current "$@" || exit 1
options=(--jobs "${VM_JOBS:-2}")
[ -z "${VM_TIMEOUT:-}" ] || options+=(--timeout "$VM_TIMEOUT")
[ -z "${VM_ONLY:-}" ] || options+=(--only "$VM_ONLY")
[ -z "${VM_SHELL:-}" ] || options+=(--shell)
exec "$runner" "${options[@]}" --kernel build/vm/current --share "$build/vm/share" --xpci "$PWD/$xpci" --logs "$build/vm/log" \
        "${topologies[@]}"
