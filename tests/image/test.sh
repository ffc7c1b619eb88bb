#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# test.sh: what `make image` has written into build/image, file by file; then the same from another directory. Ends with
# "test-image: N passed, N failed, N skipped". With ARCH=arm64 what `make image-all` has written: that architecture's part, and
# the index over both.
set -uo pipefail
export LC_ALL=C
cd "$(dirname "$0")/../.." || exit 1
MUST=12000000 AIM=10000000 # bytes, unpacked
version=$(cat VERSION)
arch=${ARCH:-$(dpkg --print-architecture)}
cross=
[ "$arch" = "$(dpkg --print-architecture)" ] || cross=-$arch
tarball=build/image/sluice-$version-$arch.oci.tar
scratch=$(mktemp -d -p /tmp image.XXXXXX)
trap 'rm -rf "$scratch"' EXIT
layout=$scratch/layout
mkdir "$layout"
tar -C "$layout" -xf "$tarball"
passed=0 failed=0 skipped=0
check() { # check NAME FINDINGS: no findings = passed
        if [ -z "$2" ]; then
                passed=$((passed + 1))
        else
                failed=$((failed + 1))
                printf 'test-image: %s\n%s\n' "$1" "$2"
        fi
}
same() { # same NAME WANTED FOUND
        check "$1" "$(diff <(printf '%s\n' "$2") <(printf '%s\n' "$3"))"
}
skip() {
        skipped=$((skipped + 1))
        echo "SKIPPED: test-image: $1"
}
blob() { echo "$layout/blobs/sha256/${1#sha256:}"; }
digest() { echo "sha256:$(sha256sum "$1" | cut -d' ' -f1)"; }

# 1. The layout, as the OCI image specification 1.0 has it.
manifest_type=application/vnd.oci.image.manifest.v1+json
same "oci-layout" '{"imageLayoutVersion":"1.0.0"}' "$(cat "$layout/oci-layout")"
index=$layout/index.json
same "index.json" "2 application/vnd.oci.image.index.v1+json 1 $manifest_type $arch linux $version docker.io/library/sluice:$version" "$(jq -r '[.schemaVersion,
        .mediaType, (.manifests | length), (.manifests[0] | .mediaType, .platform.architecture, .platform.os,
        .annotations["org.opencontainers.image.ref.name"], .annotations["io.containerd.image.name"])] | join(" ")' "$index")"
top=$(jq -r '.manifests[0].digest' "$index")
manifest=$(blob "$top")
same "manifest" "2 $manifest_type application/vnd.oci.image.config.v1+json 1 application/vnd.oci.image.layer.v1.tar+gzip" \
        "$(jq -r '[.schemaVersion, .mediaType, .config.mediaType, (.layers | length), .layers[0].mediaType] | join(" ")' "$manifest")"
check "digests and sizes" "$({ jq -c '.manifests[]' "$index"; jq -c '.config, .layers[]' "$manifest"; } | while read -r d; do
        file=$(blob "$(jq -r .digest <<<"$d")")
        [ "$(jq -r '"\(.digest) \(.size)"' <<<"$d")" = "$(digest "$file") $(stat -c %s "$file")" ] || echo "$d"
done)"
same "no other blobs" "$({ jq -r '.manifests[].digest' "$index"; jq -r '.config.digest, .layers[].digest' "$manifest"; } | sed 's/sha256://' | sort)" \
        "$(find "$layout/blobs" -type f -printf '%f\n' | sort)"
if [ -z "$cross" ]; then
        check "the directory is the tar file" "$(diff -r build/image/oci "$layout")"
else
        both=build/image/oci/blobs/sha256/$(jq -r '.manifests[0].digest | sub("sha256:"; "")' build/image/oci/index.json)
        same "the index over both" "application/vnd.oci.image.index.v1+json amd64 $(cat "build/image/sluice-$version-amd64.digest") arm64 v8 $top" "$(jq -r '[.mediaType,
                (.manifests[] | .platform.architecture, .platform.variant // empty, .digest)] | join(" ")' "$both")"
        same "its digest" "$(jq -r '.manifests[0].digest' build/image/oci/index.json) $(cat "build/image/sluice-$version.digest")" "$(digest "$both") $(digest "$both")"
        check "all blobs are there, under their digests" "$({ jq -c '.manifests[]' build/image/oci/index.json "$both"; } | while read -r d; do
                file=build/image/oci/blobs/$(jq -r '.digest | sub(":"; "/")' <<<"$d")
                [ "$(jq -r '"\(.digest) \(.size)"' <<<"$d")" = "$(digest "$file") $(stat -c %s "$file")" ] || echo "$d"
        done; for file in build/image/oci/blobs/sha256/*; do [ "$(digest "$file")" = "sha256:${file##*/}" ] || echo "$file"; done)"
        check "the tar file is that directory" "$(mkdir "$scratch/both" && tar -C "$scratch/both" -xf "build/image/sluice-$version.oci.tar" && diff -r build/image/oci "$scratch/both")"
fi
same "the digest that is told" "$top" "$(cat "build/image/sluice-$version-$arch.digest")"

config=$(blob "$(jq -r .config.digest "$manifest")")
layer=$(blob "$(jq -r '.layers[0].digest' "$manifest")")
same "configuration" "linux $arch 0:0 / /usr/sbin/sluiced PATH=/usr/sbin:/usr/bin layers sha256:$(gzip -dc "$layer" | sha256sum | cut -d' ' -f1)" "$(jq -r '[.os,
        .architecture, .config.User, .config.WorkingDir, .config.Entrypoint[], .config.Env[], .rootfs.type, .rootfs.diff_ids[]] | join(" ")' "$config")"
same "labels are the annotations" "$(jq -S .annotations "$manifest")" "$(jq -S .config.Labels "$config")"
revision=$(git rev-parse HEAD 2>/dev/null) && [ -z "$(git status --porcelain --untracked-files=no; git ls-files --others -- api cmd pkg)" ] || revision+=-dirty
created=$(date -u -d "@$(git log -1 --format=%ct)" +%Y-%m-%dT%H:%M:%SZ)
same "annotations" "$version $revision $created Apache-2.0 AND GPL-3.0-or-later" \
        "$(jq -r '.annotations | [.["org.opencontainers.image." + ("version", "revision", "created", "licenses")]] | join(" ")' "$manifest")"
same "created" "$created" "$(jq -r .created "$config")"

same "deploy/Dockerfile says the same" "$(jq -r '(.config | "ENV \(.Env[])", "USER \(.User)", "ENTRYPOINT \(.Entrypoint | tojson)",
        (.Labels | to_entries[] | select(.key | test("[.](created|source)$") | not) | "\(.key)=\(if .key | endswith(".revision") then "${REVISION}" else .value end | tojson)"))' "$config" | sort)" \
        "$(sed -e ':a' -e '/\\$/N; s/\\\n *//; ta' deploy/Dockerfile | awk '/^FROM / { n = 0 } /^(ENV|USER|ENTRYPOINT) / { said[++n] = $0 }
                /^LABEL / { while (match($0, /org[a-z.]+="[^"]*"/)) { said[++n] = substr($0, RSTART, RLENGTH); $0 = substr($0, RSTART + RLENGTH) } }
                END { for (i = 1; i <= n; i++) print said[i] }' | sort)"
# The revision of a tree with a file more; and of one that git does not speak of.
git clone -q --no-checkout --shared . "$scratch/clone" && git -C "$scratch/clone" checkout -q && cp deploy/image/image.sh "$scratch/clone/deploy/image/" &&
        git -C "$scratch/clone" -c user.name=test -c user.email=test@localhost commit -qam test --allow-empty
head=$(git -C "$scratch/clone" rev-parse HEAD)
revision_of() { env -u REVISION "$@" "$scratch/clone/deploy/image/image.sh" labels 2>"$scratch/said" | jq -r '.["org.opencontainers.image.revision"]'; }
same "the revision of what is committed" "$head" "$(revision_of)"
touch "$scratch/clone/notes"
same "a file that is not compiled is nothing" "$head" "$(revision_of)"
touch "$scratch/clone/pkg/base/more.c"
same "a source that is not committed" "$head-dirty" "$(revision_of)"
same "without git there is no revision, and it is said" " image: git does not say which revision this is" \
        "$(revision_of SOURCE_DATE_EPOCH=0 GIT_DIR=/nonexistent) $(grep -o '^image: [^:]*' "$scratch/said")"

# 2. What is in it. Directories and files, whose they are, how old, how big.
gzip -dc "$layer" >"$scratch/layer.tar"
same "files" "drwxr-xr-x usr
drwxr-xr-x usr/bin
lrwxrwxrwx usr/bin/sluicectl -> ../sbin/sluiced
drwxr-xr-x usr/sbin
-rwxr-xr-x usr/sbin/sluice-hand
-rwxr-xr-x usr/sbin/sluiced
drwxr-xr-x usr/share
drwxr-xr-x usr/share/doc
drwxr-xr-x usr/share/doc/sluice
-rw-r--r-- usr/share/doc/sluice/COPYRIGHT
-rw-r--r-- usr/share/doc/sluice/LICENSE
drwxr-xr-x usr/share/doc/sluice/licences
-rw-r--r-- usr/share/doc/sluice/sluice.spdx.json
drwxr-xr-x usr/share/misc
-rw-r--r-- usr/share/misc/pci.ids" "$(tar -tvf "$scratch/layer.tar" | awk '{ $2 = $3 = $4 = $5 = ""; print }' | sed 's/  */ /; s#/$##' | grep -v 'licences/.')"
same "all of it is root's, and as old as the commit" "0/0 $created" \
        "$(tar --full-time -tvf "$scratch/layer.tar" | awk '{ print $2, $4 "T" $5 "Z" }' | sort -u)"
mkdir "$scratch/root"
tar -C "$scratch/root" --no-same-owner -xf "$scratch/layer.tar"
root=$scratch/root doc=$scratch/root/usr/share/doc/sluice
unpacked=$(find "$root" -type f -printf '%s\n' | awk '{ n += $1 } END { print n }')
echo "unpacked $unpacked bytes, to pull $(stat -c %s "$layer")"
check "size" "$([ "$unpacked" -le $MUST ] || echo "$unpacked bytes: more than $MUST")"
check "size that is aimed at" "$([ "$unpacked" -le $AIM ] || echo "$unpacked bytes: more than $AIM")"
for program in sluiced sluice-hand; do
        file=$root/usr/sbin/$program
        same "$program is a stripped static-pie without a writable and executable part" "DYN 0 0 0" "$(readelf -Wh "$file" | awk '/Type:/ { print $2 }') $(readelf -Wl "$file" |
                grep -c INTERP) $(readelf -WS "$file" | grep -cE '\.(symtab|debug_)') $(readelf -Wl "$file" | grep -cE '(LOAD|GNU_STACK).* RWE ')"
done
check "nothing tells where it was built" "$(grep -rlF -e "$PWD" -e "$HOME/" "$root")"
check "pci.ids is the system's" "$(cmp /usr/share/misc/pci.ids "$root/usr/share/misc/pci.ids")"
check "licences" "$(for file in LICENSE COPYRIGHT; do cmp $file "$doc/$file"; done
for licence in GPL-2 GPL-3 LGPL-2.1; do cmp /usr/share/common-licenses/$licence "$doc/licences/$licence"; done)"

# 3. The SBOM. Which libraries are in a program, its symbols say as well.
sbom=$doc/sluice.spdx.json
same "SBOM: document" "SPDX-2.3 CC0-1.0 SPDXRef-DOCUMENT sluice-$version-$arch $created" \
        "$(jq -r '[.spdxVersion, .dataLicense, .SPDXID, .name, .creationInfo.created] | join(" ")' "$sbom")"
check "SBOM: namespace" "$(jq -r .documentNamespace "$sbom" | grep -vE '^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$')"
check "SBOM: an id is of one thing, and each that is related is there" "$(jq -r '([.SPDXID, .packages[].SPDXID, .files[].SPDXID]) as $ids |
        ($ids | group_by(.)[] | select(length > 1)[0]), ([.relationships[] | .spdxElementId, .relatedSpdxElement] - $ids)[],
        ($ids[] | select(test("^SPDXRef-[A-Za-z0-9.-]+$") | not))' "$sbom")"
check "SBOM: what each package must have" "$(jq -r '.packages[] | select((.name and .versionInfo and .supplier and .downloadLocation and .copyrightText and .licenseDeclared
        and (.licenseConcluded // "NOASSERTION") != "NOASSERTION") | not) | .name' "$sbom")"
same "SBOM: what it describes" "SPDXRef-Package-sluice" "$(jq -r '.relationships[] | select(.relationshipType == "DESCRIBES").relatedSpdxElement' "$sbom")"
same "SBOM: files" "$(cd "$root" && for file in usr/sbin/sluiced usr/sbin/sluice-hand usr/share/misc/pci.ids; do
        echo "./$file $(sha1sum <$file | cut -d' ' -f1) $(sha256sum <$file | cut -d' ' -f1)"
done)" "$(jq -r '.files[] | [.fileName, (.checksums[] | select(.algorithm == ("SHA1", "SHA256")).checksumValue)] | join(" ")' "$sbom")"
same "SBOM: code of the files" "$(cd "$root/usr" && sha1sum sbin/* share/misc/pci.ids | cut -d' ' -f1 | sort | tr -d '\n' | sha1sum | cut -d' ' -f1)" \
        "$(jq -r '.packages[] | select(.name == "sluice").packageVerificationCode.packageVerificationCodeValue' "$sbom")"
version_of() {
        if [ -n "$cross" ] && grep -q " $1 " "build/sysroot$cross/archives.list"; then
                awk -v name="$1" '$2 == name { print $3, "from the Debian source package", $4, $5; exit }' "build/sysroot$cross/archives.list"
        else
                dpkg-query -W -f '${Version} from the Debian source package ${source:Package} ${source:Version}' "$1"
        fi
}
check "SBOM: versions are those of the packages here" "$(jq -r '.packages[] | select(.name != "sluice") | "\(.name) \(.versionInfo) \(.sourceInfo)"' "$sbom" | while read -r name v rest; do
        [ "$v $rest" = "$(version_of "$name")" ] || echo "$name $v $rest"
done)"
check "SBOM: purls" "$(jq -r --arg arch "$arch" '.packages[] | select(.name != "sluice") | (.name | @uri) as $name | .externalRefs[] | select((.referenceCategory == "PACKAGE-MANAGER"
        and .referenceType == "purl" and (.referenceLocator | test("^pkg:deb/debian/\($name)@[^:?]+[?]arch=(\($arch)|all)&distro=debian-12&upstream=[^:&]+$"))) | not) | .referenceLocator' "$sbom")"
check "SBOM: each package's copyright is in the image" "$(jq -r '.packages[].sourceInfo // empty' "$sbom" | awk '{ print $(NF - 1) }' | while read -r source; do
        [ -s "$doc/licences/$source.copyright" ] || echo "$source"
done)"
# The archives that are built here (deploy/static) are of the version of their day, whatever apt has installed since.
mkdir "$scratch/bin" "$scratch/later"
cat >"$scratch/bin/dpkg-query" <<'EOF'
#!/bin/bash
case "$*" in
*libpci-dev) echo libpci-dev 9:9-1 pciutils 9:9-1 ;;
*) exec /usr/bin/dpkg-query "$@" ;;
esac
EOF
printf '#!/bin/bash\n[[ " $* " != *" source "* ]] || { echo "asked for ${@: -1}"; exit 1; } >&2\n' >"$scratch/bin/apt-get"
chmod +x "$scratch/bin"/*
cp -a "$root" "$scratch/later/root"
cp -a "build/static$cross" "$scratch/later/static"
check "SBOM: what was linked, not what is installed since" "$(PATH=$scratch/bin:$PATH CREATED=$created VERSION=$version deploy/image/sbom.sh "$arch" "build/release$cross/bin" \
        "$scratch/later/root" 2>&1 | diff "$sbom" - | head)"
same "archives of this version stay as they are" "" "$(deploy/static/build.sh "$scratch/later/static" 2>&1)"
same "an archive of another version is built again" "asked for pciutils=9:9-1" "$(PATH=$scratch/bin:$PATH deploy/static/build.sh "$scratch/later/static" 2>&1 | tail -n 1)"
symbols="libgrpc-dev grpc_server_create
libabsl-dev _ZN4absl.*Mutex4LockEv
libc-ares-dev ares_init
libprotobuf-c-dev protobuf_c_message_unpack
libuv1-dev uv_run
libyaml-dev yaml_parser_load
libjansson-dev json_loadb
libpci-dev pci_lookup_name
libsmartcols-dev scols_print_table
zlib1g-dev crc32
libstdc++-12-dev _ZSt9terminatev
libgcc-12-dev _Unwind_Resume
libc6-dev memcpy"
for program in sluiced sluice-hand; do
        nm "build/release$cross/bin/$program" | awk '{ sub(/@.*/, "", $NF); print $NF }' | sort -u >"$scratch/symbols"
        same "SBOM: libraries of $program" "$(while read -r package symbol; do grep -qx "$symbol" "$scratch/symbols" && echo "$package"; done <<<"$symbols" | sort)" \
                "$(jq -r --arg file "SPDXRef-File-$program" '.relationships[] | select(.relationshipType == "STATIC_LINK" and .spdxElementId == $file)
                        .relatedSpdxElement | sub("SPDXRef-Package-"; "")' "$sbom" | sed 's/libstdc---12/libstdc++-12/' | sort)"
done

# 4. It runs: from its own files alone, without a capability to speak of.
jail() { timeout 60 unshare --user --map-root-user --root="$root" "$@" 2>&1; }
if unshare --user --map-root-user true 2>/dev/null; then
        :
elif [ "$(id -u)" = 0 ]; then
        jail() { timeout 60 chroot "$root" "$@" 2>&1; }
else
        jail() { return 99; }
fi
jail /usr/sbin/sluiced --version >/dev/null
if [ $? = 99 ]; then
        skip "neither root nor user namespaces: the programs were not run"
else
        same "sluiced runs" "sluiced $version" "$(jail /usr/sbin/sluiced --version | head -n 1)"
        same "sluicectl runs" "sluicectl $version" "$(jail /usr/bin/sluicectl --version | head -n 1)"
        same "sluice-hand runs" "sluice-hand $version" "$(jail /usr/sbin/sluice-hand --version)"
        # The built-in table has no ASPEED.
        mkdir "$root/tmp"
        cp tests/fixtures/hosts/aspeed-bmc.capture "$root/tmp/"
        check "names come from its pci.ids" "$(jail /usr/bin/sluicectl inventory --host /tmp/aspeed-bmc.capture | grep -q '^ASPEED Graphics Family' || echo "no ASPEED Graphics Family")"
fi

# 5. The same from another place, by somebody with other habits, the static libraries from their sources too.
if [ -z "$cross" ]; then
        elsewhere=$scratch/a/longer/way/to/the/same
        mkdir -p "$elsewhere"
        git ls-files -z --cached --others --exclude-standard | tar --null -T - --ignore-failed-read -cf - 2>/dev/null | tar -C "$elsewhere" -xf -
        if (umask 077 && cd "$elsewhere" && env -u MAKEFLAGS -u MAKELEVEL TZ=Asia/Kathmandu LC_ALL=C.UTF-8 SOURCE_DATE_EPOCH="$(git -C "$OLDPWD" log -1 --format=%ct)" REVISION="$revision" \
                make image) >"$scratch/log" 2>&1; then
                same "the same digest from another directory" "$top" "$(cat "$elsewhere/build/image/sluice-$version-$arch.digest")"
                check "the same tar file" "$(cmp "$tarball" "$elsewhere/build/image/sluice-$version-$arch.oci.tar")"
                check "the same programs" "$(diff -r "build/image/$arch/rootfs" "$elsewhere/build/image/$arch/rootfs" | head)"
        else
                check "build in another directory" "$(tail "$scratch/log")"
        fi
fi
echo "test-image: $passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && { [ "${STRICT:-0}" != 1 ] || [ "$skipped" = 0 ]; }
