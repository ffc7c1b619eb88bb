#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# image.sh NAME:TAG ENTRYPOINT DIRECTORY OUT.tar: packs a directory as an archive that `ctr image import` takes. For what the tests run;
# the product's image is made by `make image`.
set -euo pipefail
t=$(mktemp -d)
trap 'rm -r "$t"' EXIT
tar --numeric-owner --owner=0 --group=0 --sort=name --mtime=@0 -C "$3" -cf "$t/layer.tar" .
sum=$(sha256sum "$t/layer.tar" | cut -d' ' -f1)
case $(uname -m) in aarch64) arch=arm64 ;; *) arch=amd64 ;; esac
printf '{"architecture":"%s","os":"linux","config":{"Entrypoint":["%s"],"Env":["PATH=/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' $arch "$2" "$sum" >"$t/config.json"
printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$1" >"$t/manifest.json"
tar --sort=name --mtime=@0 -C "$t" -cf "$4" manifest.json config.json layer.tar
