#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# build.sh BIN_DIR OUT_DIR: packs OUT_DIR/sluice_VERSION_ARCH.deb of the programs in BIN_DIR; the same bytes each time.
#   DEB_ARCH    default: this machine's                     STRIP      default: strip
#   DEB_VERSION default: that of the file VERSION           HELP_DIR   programs that run here and print the help, default: BIN_DIR
#   DEB_MAINTAINER  who packs it, name and address
#   SOURCE_DATE_EPOCH  the date of all files, default: the last commit's, without git that of CHANGELOG.md
set -euo pipefail
export LC_ALL=C TZ=UTC
umask 022
cd "$(dirname "$0")/../.."
bin=$1 out=$(realpath -m "$2")
arch=${DEB_ARCH:-$(dpkg --print-architecture)}
maintainer=${DEB_MAINTAINER:-The Sluice authors <sluice@sluice.dev>}
version=${DEB_VERSION:-$(deploy/deb/version.sh "$(cat VERSION)")}
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
        if [ -e .git ]; then
                SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) ||
                        { echo "deb: git does not say of what date the sources are: set SOURCE_DATE_EPOCH, or mend what git complains of" >&2; exit 1; }
        else
                SOURCE_DATE_EPOCH=$(stat -c %Y CHANGELOG.md)
        fi
fi
export SOURCE_DATE_EPOCH
stage=$out/root-$arch
doc=$stage/usr/share/doc/sluice

rm -rf "$stage"
mkdir -p "$stage/DEBIAN"
make -s install-all BIN_DIR="$bin" HELP_DIR="${HELP_DIR:-$bin}" STRIP="${STRIP:-strip}" DESTDIR="$stage" PREFIX=/usr \
        ZSH_DIR=share/zsh/vendor-completions
install -D -m 644 deploy/deb/config.yaml "$stage/etc/sluice/config.yaml"
install -D -m 644 deploy/deb/lintian-overrides "$stage/usr/share/lintian/overrides/sluice"
"${STRIP:-strip}" --remove-section=.comment --remove-section=.note "$stage"/usr/sbin/*

rm "$doc/LICENSE" # Debian has it: copyright says where
install -m 644 deploy/deb/copyright "$doc/copyright"
mkdir "$doc/licences"
for package in $(sed -nE 's/^  ([a-z0-9+.-]+-dev) .*/\1/p' COPYRIGHT); do
        gzip -9nc "/usr/share/doc/$package/copyright" >"$doc/licences/$package.gz"
done
{
        printf 'sluice (%s) unstable; urgency=medium\n\n' "$version"
        sed -n '/^## /,/^## /{/^- /p}' CHANGELOG.md | sed -E 's/^- /  * /' | fold -s -w 76 | sed -E '/^  \* /!s/^/    /; s/ +$//'
        printf '\n -- %s  %s\n' "$maintainer" "$(date -u -R -d "@$SOURCE_DATE_EPOCH")"
} | gzip -9n >"$doc/changelog.gz"
find "$stage/usr/share/man" -type f -exec gzip -9n {} +

for script in postinst prerm postrm; do
        sed -e '/^#BOUND#$/{r deploy/deb/bound.sh' -e 'd}' "deploy/deb/$script" >"$stage/DEBIAN/$script"
        chmod 755 "$stage/DEBIAN/$script"
done
echo /etc/sluice/config.yaml >"$stage/DEBIAN/conffiles"
# Installed-Size as dpkg-gencontrol counts it: how big a directory is, is the file system's affair.
cat >"$stage/DEBIAN/control" <<EOF
Package: sluice
Version: $version
Architecture: $arch
Maintainer: $maintainer
Installed-Size: $(find "$stage" -path "$stage/DEBIAN" -prune -o -printf '%y %s\n' | awk '{ n += $1 == "f" ? int(($2 + 1023) / 1024) : 1 } END { print n }')
Pre-Depends: init-system-helpers (>= 1.54~)
Depends: procps
Recommends: pci.ids, kmod
Suggests: bash-completion
Section: admin
Priority: optional
Description: hands a host's GPUs to virtual machines
 sluiced discovers the GPUs of a host, says of each why it can be given away
 or cannot, and binds those that it is told to, with their whole IOMMU group
 or not at all, to VFIO. On a node of a Kubernetes cluster it offers them to
 kubelet, for KubeVirt. sluicectl shows what it sees.
 .
 After the installation nothing is bound: /etc/sluice/config.yaml says what
 may be.
EOF
(cd "$stage" && find etc usr -type f ! -path etc/sluice/config.yaml -print0 | sort -z | xargs -0 md5sum) >"$stage/DEBIAN/md5sums"
find "$stage" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
chmod -R go-w "$stage"
dpkg-deb --root-owner-group -Zxz --threads-max=1 --build "$stage" "$out/sluice_${version}_$arch.deb" >/dev/null
echo "$2/sluice_${version}_$arch.deb"
