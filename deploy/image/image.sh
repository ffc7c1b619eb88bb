#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The image, without a registry and without a container tool: an OCI image layout is files and their digests.
#
#   image.sh build ARCH BIN_DIR   build/image/ARCH: rootfs, SBOM, layer, configuration and manifest, of programs built already
#   image.sh layout ARCH...       build/image/oci and the same as one tar file; an index over the platforms when there are several
#
# SOURCE_DATE_EPOCH and REVISION are those of the commit unless they are set; IMAGE_SOURCE is the address of the sources, for the
# label of that name. IMAGE_DIR instead of build/image. The same sources and packages give the same digest, wherever they lie.
set -euo pipefail
export LC_ALL=C TZ=UTC
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
out=${IMAGE_DIR:-build/image}
version=$(cat VERSION)
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)} || { echo "image: git does not say of what date the sources are: set SOURCE_DATE_EPOCH" >&2; exit 1; }
# What is changed, and what would be compiled though git has it not.
git_revision() {
        local revision changes
        revision=$(git rev-parse HEAD) && changes=$(git status --porcelain --untracked-files=no) && changes+=$(git ls-files --others -- api cmd pkg) &&
                echo "$revision${changes:+-dirty}"
}
revision=${REVISION:-$(git_revision)} || { echo "image: git does not say which revision this is: set REVISION, or mend what git complains of" >&2; exit 1; }
created=$(date -u -d "@$epoch" +%Y-%m-%dT%H:%M:%SZ)
tar_options=(--format=gnu --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner)

sha256() { sha256sum "$1" | cut -d' ' -f1; }
size() { stat -c %s "$1"; }
blob() { # blob FILE DIR: moves it to its name; prints its digest
        local sum
        sum=$(sha256 "$1")
        mv "$1" "$2/$sum"
        echo "$sum"
}
tree_size() { find "$1" -type f -printf '%s\n' | awk '{ n += $1 } END { print n + 0 }'; }
mb() { awk -v n="$1" 'BEGIN { printf "%.2f MB", n / 1e6 }'; }

# What a person and a scanner find: the labels of the configuration, the annotations of manifest and index.
labels() {
        jq -n --arg version "$version" --arg revision "$revision" --arg created "$created" --arg source "${IMAGE_SOURCE:-}" '{
                "org.opencontainers.image.title": "sluice",
                "org.opencontainers.image.description": "Hands the GPUs of a Kubernetes node to KubeVirt virtual machines and pods",
                "org.opencontainers.image.version": $version,
                "org.opencontainers.image.revision": $revision,
                "org.opencontainers.image.created": $created,
                "org.opencontainers.image.licenses": "Apache-2.0 AND GPL-3.0-or-later"
        } + if $source == "" then {} else { "org.opencontainers.image.source": $source } end'
}

rootfs() { # rootfs BIN_DIR ROOT: programs, names, licences
        local doc=$2/usr/share/doc/sluice
        rm -rf "$2"
        install -d -m 755 "$2" "$2"/usr "$2"/usr/{bin,sbin,share} "$2"/usr/share/{misc,doc} "$doc" "$doc/licences"
        for program in sluiced sluice-hand; do
                "${STRIP:-strip}" -o "$2/usr/sbin/$program" "$1/$program"
                chmod 755 "$2/usr/sbin/$program"
        done
        ln -s ../sbin/sluiced "$2/usr/bin/sluicectl"
        install -m 644 /usr/share/misc/pci.ids "$2/usr/share/misc/pci.ids"
        install -m 644 LICENSE COPYRIGHT "$doc/"
        for licence in GPL-2 GPL-3 LGPL-2.1; do install -m 644 "/usr/share/common-licenses/$licence" "$doc/licences/"; done
}

build() { # build ARCH BIN_DIR
        local dir=$out/$1 blobs=$out/$1/blobs config layer diff_id
        rm -rf "$dir"
        mkdir -p "$blobs"
        rootfs "$2" "$dir/rootfs"
        CREATED=$created VERSION=$version "$here/sbom.sh" "$1" "$2" "$dir/rootfs" > "$dir/sluice.spdx.json"
        install -m 644 "$dir/sluice.spdx.json" "$dir/rootfs/usr/share/doc/sluice/"
        (cd "$dir/rootfs" && tar "${tar_options[@]}" -cf ../layer.tar usr)
        diff_id=$(sha256 "$dir/layer.tar")
        gzip -9n < "$dir/layer.tar" > "$dir/layer.gz"
        rm "$dir/layer.tar"
        layer=$(blob "$dir/layer.gz" "$blobs")
        jq -n --arg arch "$1" --arg created "$created" --arg diff_id "sha256:$diff_id" --argjson labels "$(labels)" '{
                created: $created, architecture: $arch, os: "linux",
                config: {
                        User: "0:0", WorkingDir: "/", Entrypoint: ["/usr/sbin/sluiced"], Env: ["PATH=/usr/sbin:/usr/bin"],
                        Labels: $labels
                },
                rootfs: { type: "layers", diff_ids: [$diff_id] },
                history: [{ created: $created, created_by: "make image" }]
        } + if $arch == "arm64" then { variant: "v8" } else {} end' > "$dir/config.json"
        config=$(blob "$dir/config.json" "$blobs")
        jq -n --arg config "sha256:$config" --argjson config_size "$(size "$blobs/$config")" \
                --arg layer "sha256:$layer" --argjson layer_size "$(size "$blobs/$layer")" --argjson labels "$(labels)" '{
                schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json",
                config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: $config, size: $config_size },
                layers: [{ mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", digest: $layer, size: $layer_size }],
                annotations: $labels
        }' > "$dir/manifest.json"
        blob "$dir/manifest.json" "$blobs" > "$dir/digest"
        local root=$dir/rootfs sbin=$dir/rootfs/usr/sbin
        echo "image sluice $version linux/$1: $(mb "$(tree_size "$root")") unpacked (sluiced $(mb "$(size "$sbin/sluiced")")," \
                "sluice-hand $(mb "$(size "$sbin/sluice-hand")"), pci.ids $(mb "$(size "$root/usr/share/misc/pci.ids")")," \
                "licences and SBOM $(mb "$(tree_size "$root/usr/share/doc")")), $(mb "$(size "$blobs/$layer")") to pull"
}

descriptor() { # descriptor ARCH: of its manifest
        local digest
        digest=$(cat "$out/$1/digest")
        jq -n --arg arch "$1" --arg digest "sha256:$digest" --argjson size "$(size "$out/$1/blobs/$digest")" '{
                mediaType: "application/vnd.oci.image.manifest.v1+json", digest: $digest, size: $size,
                platform: ({ architecture: $arch, os: "linux" } + if $arch == "arm64" then { variant: "v8" } else {} end)
        }'
}

layout() { # layout ARCH...
        local oci=$out/oci name=sluice-$version top digest
        local blobs=$oci/blobs/sha256
        rm -rf "$oci"
        mkdir -p "$blobs"
        for arch; do cp "$out/$arch/blobs"/* "$blobs/"; done
        if [ $# = 1 ]; then
                name+=-$1
                top=$(descriptor "$1")
        else
                for arch; do descriptor "$arch"; done | jq -s --argjson labels "$(labels)" '{
                        schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json", manifests: ., annotations: $labels
                }' > "$oci/top.json"
                local bytes
                bytes=$(size "$oci/top.json")
                top=$(jq -n --arg digest "sha256:$(blob "$oci/top.json" "$blobs")" --argjson size "$bytes" '{
                        mediaType: "application/vnd.oci.image.index.v1+json", digest: $digest, size: $size }')
        fi
        # The names under which `ctr images import` and `skopeo copy` find it.
        jq --arg version "$version" '{
                schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json",
                manifests: [. + { annotations: {
                        "io.containerd.image.name": ("docker.io/library/sluice:" + $version),
                        "org.opencontainers.image.ref.name": $version
                } }]
        }' <<< "$top" > "$oci/index.json"
        printf '{"imageLayoutVersion":"1.0.0"}' > "$oci/oci-layout"
        tar "${tar_options[@]}" --mode=u=rwX,go=rX -C "$oci" -cf "$out/$name.oci.tar" blobs index.json oci-layout
        digest=$(jq -r .digest <<< "$top")
        echo "$digest" > "$out/$name.digest"
        echo "  $out/$name.oci.tar  $digest"
}

verb=$1
shift
"$verb" "$@"
