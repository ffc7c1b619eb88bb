#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# sbom.sh ARCH BIN_DIR ROOTFS: what the programs of ROOTFS are made of, as SPDX 2.3 on standard output, from what the linker says
# it took (BIN_DIR/*.map), dpkg and COPYRIGHT. Puts each package's copyright file into ROOTFS.
set -euo pipefail
export LC_ALL=C
arch=$1 bin=$2 root=$3
licences=$root/usr/share/doc/sluice/licences
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

archives() { # archives MAP: the archives of which the linker took a member
        awk '/^Archive member included/ { on = 1; next }
             on && /^[^ ].*[.]a\(/ { sub(/\(.*/, ""); print; next }
             on && /^[^ ]/ { exit }' "$1" | sort -u
}
package() { # package ARCHIVE: "PACKAGE VERSION SOURCE SOURCE_VERSION COPYRIGHT", or nothing for what is ours
        local path name version source sysroot
        path=$(realpath "$1")
        case $path in
        */libsluice.a) return ;;
        */build/static*/lib/*) # deploy/static/build.sh
                read -r name version source < "$path.package" || { echo "sbom: nothing says what $path was made from" >&2; return 1; }
                echo "$name $version $source /usr/share/doc/$name/copyright"
                return
                ;;
        */build/sysroot-*) # deploy/static/sysroot.sh
                sysroot=build/sysroot-${path##*/build/sysroot-}
                sysroot=${sysroot%%/usr/*}
                awk -v path="${path##*"$sysroot"}" -v root="$sysroot" '
                        $1 == path { print $2, $3, $4, $5, root "/usr/share/doc/" $2 "/copyright"; found = 1; exit }
                        END { exit !found }' "$sysroot/archives.list" || { echo "sbom: $path is of no package" >&2; return 1; }
                return
                ;;
        *) name=$(dpkg -S "$path" | sed 's/[:,].*//;q') || { echo "sbom: $path is of no package" >&2; return 1; } ;;
        esac
        dpkg-query -W -f '${Package} ${Version} ${source:Package} ${source:Version}' "$name"
        echo " /usr/share/doc/$name/copyright"
}
licence() { # licence PACKAGE
        awk -v name="$1" '$1 == name { $1 = ""; print substr($0, 2); found = 1 } END { exit !found }' COPYRIGHT ||
                { echo "sbom: COPYRIGHT does not say under which licence $1 is" >&2; return 1; }
}

for program in sluiced sluice-hand; do
        archives "$bin/$program.map" > "$scratch/archives"
        while read -r archive; do
                package "$archive" || exit 1
        done < "$scratch/archives" | sort -u | sed "s/^/$program /"
done > "$scratch/linked"
package_rows() {
        cut -d' ' -f2- "$scratch/linked"
        dpkg-query -W -f '${Package} ${Version} ${source:Package} ${source:Version} /usr/share/doc/${Package}/copyright\n' pci.ids
}
package_rows | sort -u > "$scratch/packages"
while read -r name version source source_version copyright; do
        terms=$(licence "$name")
        install -m 644 "$copyright" "$licences/$source.copyright"
        jq -n --arg name "$name" --arg version "$version" --arg source "$source" --arg source_version "$source_version" --arg terms "$terms" \
                '{ $name, $version, $source, source_version: $source_version, $terms }'
done < "$scratch/packages" | jq -s . > "$scratch/packages.json"
jq -R 'split(" ") | { program: .[0], package: .[1] }' "$scratch/linked" | jq -s . > "$scratch/linked.json"

# The files that are the product; the texts beside them are not listed.
for file in usr/sbin/sluiced usr/sbin/sluice-hand usr/share/misc/pci.ids; do
        jq -n --arg file "$file" --arg sha1 "$(sha1sum "$root/$file" | cut -d' ' -f1)" --arg sha256 "$(sha256sum "$root/$file" | cut -d' ' -f1)" \
                '{ $file, $sha1, $sha256 }'
done | jq -s . > "$scratch/files.json"
code=$(jq -r '[.[].sha1] | sort | join("")' "$scratch/files.json" | tr -d '\n' | sha1sum | cut -d' ' -f1)
# A name for this document and no other, from what it is about.
id=$(cat "$scratch"/*.json | sha256sum | sed -E 's/^(.{8})(.{4}).(.{3}).(.{3})(.{12}).*/\1-\2-8\3-8\4-\5/')

jq -n -S --arg arch "$arch" --arg version "$VERSION" --arg created "$CREATED" --arg id "$id" --arg code "$code" \
        --slurpfile packages "$scratch/packages.json" --slurpfile linked "$scratch/linked.json" --slurpfile files "$scratch/files.json" '
def ref($name): "SPDXRef-Package-" + ($name | gsub("[^A-Za-z0-9.-]"; "-"));
def file_ref($path): "SPDXRef-File-" + ($path | split("/") | last);
def terms: { sluiced: "GPL-3.0-or-later", "sluice-hand": "Apache-2.0", "pci.ids": "GPL-2.0-or-later OR BSD-3-Clause" };
($files[0] | map(. + { terms: terms[.file | split("/") | last] })) as $files |
{
        spdxVersion: "SPDX-2.3", dataLicense: "CC0-1.0", SPDXID: "SPDXRef-DOCUMENT",
        name: "sluice-\($version)-\($arch)", documentNamespace: "urn:uuid:\($id)",
        creationInfo: { created: $created, creators: ["Organization: The Sluice authors", "Tool: deploy/image/sbom.sh"] },
        comment: "The copyright notices of all packages are in the image, below /usr/share/doc/sluice.",
        packages: ([{
                SPDXID: ref("sluice"), name: "sluice", versionInfo: $version, primaryPackagePurpose: "CONTAINER",
                supplier: "Organization: The Sluice authors", downloadLocation: "NOASSERTION", filesAnalyzed: true,
                packageVerificationCode: { packageVerificationCodeValue: $code },
                licenseInfoFromFiles: ([$files[].terms | split(" OR ")[]] | unique),
                licenseConcluded: "Apache-2.0 AND GPL-3.0-or-later", licenseDeclared: "Apache-2.0",
                copyrightText: "Copyright the Sluice authors."
        }] + [$packages[0][] | {
                SPDXID: ref(.name), name: .name, versionInfo: .version,
                primaryPackagePurpose: (if .name == "pci.ids" then "FILE" else "LIBRARY" end),
                supplier: "Organization: Debian", downloadLocation: "NOASSERTION", filesAnalyzed: false,
                sourceInfo: "from the Debian source package \(.source) \(.source_version)",
                licenseConcluded: .terms, licenseDeclared: "NOASSERTION", copyrightText: "NOASSERTION",
                externalRefs: [{
                        referenceCategory: "PACKAGE-MANAGER", referenceType: "purl",
                        referenceLocator: "pkg:deb/debian/\(.name | @uri)@\(.version | @uri)?arch=\(
                                if .name == "pci.ids" then "all" else $arch end)&distro=debian-12&upstream=\("\(.source)@\(.source_version)" | @uri)"
                }]
        }]),
        files: [$files[] | {
                SPDXID: file_ref(.file), fileName: "./\(.file)",
                fileTypes: (if .file | endswith("pci.ids") then ["TEXT"] else ["BINARY"] end),
                checksums: [{ algorithm: "SHA1", checksumValue: .sha1 }, { algorithm: "SHA256", checksumValue: .sha256 }],
                licenseConcluded: .terms, licenseInfoInFiles: ["NOASSERTION"], copyrightText: "NOASSERTION"
        }],
        relationships: ([{ spdxElementId: "SPDXRef-DOCUMENT", relationshipType: "DESCRIBES", relatedSpdxElement: ref("sluice") }]
                + [$files[] | { spdxElementId: ref("sluice"), relationshipType: "CONTAINS", relatedSpdxElement: file_ref(.file) }]
                + [$linked[0][] | { spdxElementId: file_ref(.program), relationshipType: "STATIC_LINK", relatedSpdxElement: ref(.package) }]
                + [{ spdxElementId: file_ref("pci.ids"), relationshipType: "COPY_OF", relatedSpdxElement: ref("pci.ids") }])
}'
