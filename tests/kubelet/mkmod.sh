#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# mkmod.sh 1.36.3 [module=version ...] >go.mod
# Require one kubelet version and pin all its staging modules; module=version overrides one.
set -eu
v=$1
shift
dir=$(go mod download -json "k8s.io/kubernetes@v$v" | sed -n 's/^\t"Dir": "\(.*\)",/\1/p')
echo "module sluice.dev/sluice/tests/kubelet"
echo
grep '^go ' "$dir/go.mod"
grep '^godebug ' "$dir/go.mod" || :
echo
echo "require k8s.io/kubernetes v$v"
echo
echo "replace ("
sed -n 's|^\t\(k8s.io/[^ ]*\) => ./staging/.*|\t\1 => \1 v0.'"${v#1.}"'|p' "$dir/go.mod" |
	sed "$(for o; do echo "s|^\t${o%=*} => .*|\t${o%=*} => ${o%=*} ${o#*=}|"; done)"
echo ")"
