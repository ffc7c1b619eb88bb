#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Prepares the guest's kernel from Debian's packages, downloaded and unpacked, never installed.
#
#   prepare.sh DIR
#
# DIR/<package version>-<hash of the recipe>/ gets vmlinux (boots by PVH), initramfs.cpio.gz, nvidia.ko and hdr/ (to build
# modules), and DIR/current points to it. What is there is used again; only nvidia.ko is rebuilt when its source is newer.
# Exit: 0 ready, 77 a named prerequisite is missing (the last line says which), anything else: failed.
set -euo pipefail
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
top=$(cd "$1" && pwd)

skip() { echo "$*"; exit 77; }

[ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] || skip "the guest needs a Debian amd64 machine"
while read -r p; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || skip "package $p is not installed (make deps)"
done < "$here/packages.txt"

# The kernel that the metapackage names today; without package lists or network, the newest one that is here already.
depends() { apt-cache depends "$1" 2>/dev/null | awk '$1 == "Depends:" { print $2 }'; }
version() { apt-cache policy "$1" 2>/dev/null | awk '$1 == "Candidate:" { print $2 }'; }
image=$(depends linux-image-amd64 | grep -m1 '^linux-image-[0-9]' || true)
recipe=$(cat "$here/prepare.sh" "$here/init" | sha256sum | head -c 8)
if [ -n "$image" ]; then
        dir=$top/$(version "$image" | tr ':~' '__')-$recipe
else
        dir=$(printf '%s\n' "$top"/[0-9]*-"$recipe"/release | sort -V | tail -n 1)
        [ -e "$dir" ] || skip "apt knows no kernel package linux-image-amd64 (apt-get update)"
        dir=${dir%/release}
fi

# Modules that the tests load; their closure goes into the initramfs.
modules="vfio-pci vfio_iommu_type1 mdev pci-pf-stub nvme e1000e snd-hda-intel bochs 9p 9pnet_virtio virtio_pci"

download() {
        local kernel=${image#linux-image-} need
        need=("$image" "linux-headers-$kernel")
        for p in $(depends "linux-headers-$kernel"); do need+=("$p"); done
        mkdir -p "$dir/deb"
        (cd "$dir/deb" && apt-get download -qq -o APT::Sandbox::User=root "${need[@]}") ||
                skip "the kernel packages ${need[*]} cannot be downloaded"
}

# The ELF image inside vmlinuz: PVH boots it without the time that decompression takes under emulation.
unpack_vmlinux() { # vmlinuz out
        local offset
        while read -r offset; do
                tail -c+$((offset + 1)) "$1" | xz -dc > "$2" 2>/dev/null || true # what follows the stream is no error
                [ "$(head -c4 "$2" | tail -c3)" = ELF ] && return
        done < <(grep -aobP '\xfd7zXZ\x00' "$1" | cut -d: -f1)
        echo "no ELF image in $1" >&2
        return 1
}

make_initramfs() { # kernel-root release out
        local root=$dir/initramfs f m
        rm -rf "$root"
        mkdir -p "$root"/{bin,dev,proc,sys,run,tmp,etc,share,usr,lib64,lib/modules/"$2"}
        cp /bin/busybox "$root/bin/busybox"
        for f in $(/bin/busybox --list); do [ "$f" = busybox ] || ln -s busybox "$root/bin/$f"; done
        ln -s bin "$root/sbin"
        ln -s /share/lib "$root/usr/lib" # libraries and the loader come with the shared folder
        ln -s /share/lib/ld-linux-x86-64.so.2 "$root/lib64/ld-linux-x86-64.so.2"
        depmod -b "$1" "$2"
        for m in $modules; do
                modprobe -S "$2" -d "$1" --show-depends "$m"
        done | awk '$1 == "insmod" { print $2 }' | sort -u | while read -r f; do
                mkdir -p "$root/$(dirname "${f#"$1"/}")"
                cp "$f" "$root/${f#"$1"/}"
        done
        cp "$1/lib/modules/$2"/modules.{builtin,builtin.modinfo,order} "$root/lib/modules/$2/"
        depmod -b "$root" "$2"
        cp "$here/init" "$root/init"
        chmod 755 "$root/init"
        (cd "$root" && find . | cpio --quiet -o -H newc -R 0:0 | gzip -1) > "$3.new"
        rm -rf "$root"
        mv "$3.new" "$3"
}

build_module() { # release
        local headers=$dir/hdr/usr/src/linux-headers-$1
        rm -rf "$dir/kmod"
        mkdir -p "$dir/kmod"
        cp "$here/kmod/nvidia.c" "$dir/kmod/"
        echo 'obj-m := nvidia.o' > "$dir/kmod/Makefile"
        make -s -C "$headers" M="$dir/kmod" modules > "$dir/kmod/log" 2>&1 || { cat "$dir/kmod/log" >&2; return 1; }
        strip -g "$dir/kmod/nvidia.ko" -o "$dir/nvidia.ko"
}

if [ ! -e "$dir/release" ]; then
        echo "test-vm: preparing $image"
        rm -rf "$dir"
        download
        root=$dir/root
        mkdir -p "$root"
        dpkg --fsys-tarfile "$dir"/deb/linux-image-*.deb | tar -x -C "$root" ./boot ./lib/modules
        release=$(ls "$root/lib/modules")
        unpack_vmlinux "$root/boot/vmlinuz-$release" "$dir/vmlinux"
        for f in "$dir"/deb/*.deb; do
                case $f in *linux-image-*) ;; *) dpkg -x "$f" "$dir/hdr" ;; esac
        done
        sed -i "s#/usr/src/#$dir/hdr/usr/src/#" "$dir/hdr/usr/src/linux-headers-$release/Makefile"
        make_initramfs "$root" "$release" "$dir/initramfs.cpio.gz"
        rm -rf "$root" "$dir/deb" "$dir/hdr/usr/share/doc"
        echo "$release" > "$dir/release"
fi
if [ ! "$dir/nvidia.ko" -nt "$here/kmod/nvidia.c" ]; then
        build_module "$(cat "$dir/release")"
fi
ln -sfn "${dir##*/}" "$top/current"
