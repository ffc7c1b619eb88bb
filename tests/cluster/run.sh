#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# run.sh: the tests of this directory in a cluster of their own, ended by "test-cluster: N passed, N failed, N skipped". Where
# something is missing everything is skipped with the reason; STRICT=1 makes that, and a single skipped test, a failure.
# RUN: a regular expression of tests. SHELL_INSIDE=1: a shell in the cluster, with kubectl and helm, in the place of the tests.
# Whatever ends this script, the cluster ends with it.
# IMAGE is the image to install, as `make image` writes it: IMAGE.oci.tar and IMAGE.digest.
set -uo pipefail
stage=test-cluster
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
cache=$top/build/cluster
finish() { # finish PASSED FAILED SKIPPED
        echo "$stage: $1 passed, $2 failed, $3 skipped"
        [ "$2" = 0 ] && [ $(($1 + $3)) -gt 0 ] && { [ "${STRICT:-0}" != 1 ] || [ "$3" = 0 ]; }
        exit
}
skip() {
        echo "SKIPPED: $stage: $1"
        finish 0 0 "$(cat "$here"/*_test.go | grep -E '^func Test' | grep -cv TestMain)"
}

# ---- what has to be there ----
export GOTOOLCHAIN=local GOFLAGS="-mod=readonly -buildvcs=false" CGO_ENABLED=0
wanted=$(sed -n 's/^go //p' "$here/go.mod")
command -v go >/dev/null || skip "Go is not installed ($wanted or newer is needed)"
version=$(go env GOVERSION)
[ "$(printf 'go%s\n%s\n' "$wanted" "$version" | sort -V | head -n 1)" = "go$wanted" ] || skip "$version is too old ($wanted or newer is needed)"
[ "$(id -u)" = 0 ] || skip "a kubelet needs root"
for program in runc busybox ip openssl jq unshare setpriv; do
        command -v $program >/dev/null || skip "$program is not installed"
done
unshare --mount --net --pid --ipc --fork true 2>/dev/null || skip "mount, network, process and IPC namespaces cannot be made here"
name=sluice-cluster-$$
sweep() { # sweep NAME...: rmdir, innermost first
        local c
        for c; do [ ! -d "$c" ] || find "$c" -depth -type d -exec rmdir {} + 2>/dev/null; done
}
rig=$(mktemp -d /tmp/$name.XXXXXX)
unshared=
end() {
        if [ -n "$unshared" ]; then
                kill -9 "$unshared" 2>/dev/null
                wait "$unshared" 2>/dev/null
        fi
        # What was killed is gone from its groups a moment later.
        for _ in $(seq 50); do
                sweep "/sys/fs/cgroup/$name" /sys/fs/cgroup/*/"$name"
                compgen -G "/sys/fs/cgroup/*/$name" >/dev/null || [ -d "/sys/fs/cgroup/$name" ] || break
                sleep 0.2
        done
        rm -rf "$rig"
}
trap end EXIT
trap 'exit 130' INT TERM HUP
if [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]; then
        for c in cpuset cpu memory pids; do
                [[ " $(cat /sys/fs/cgroup/cgroup.controllers) " == *" $c "* ]] || skip "cgroup v2 without the controller $c"
        done
        echo "+cpuset +cpu +memory +pids" 2>/dev/null >/sys/fs/cgroup/cgroup.subtree_control || skip "the controllers of cgroup v2 cannot be handed down here"
        mkdir "/sys/fs/cgroup/$name" || skip "cgroups cannot be made here"
else
        for c in cpuset cpu memory pids devices freezer; do
                [ -d /sys/fs/cgroup/$c ] || skip "cgroup v1 without the controller $c"
        done
        mkdir "/sys/fs/cgroup/memory/$name" || skip "cgroups cannot be made here"
fi
# Groups of a run that was killed before it could remove them.
for c in /sys/fs/cgroup/sluice-cluster-* /sys/fs/cgroup/*/sluice-cluster-*; do
        [ ! -d "$c" ] || [ -d "/proc/${c##*-}" ] || sweep "$c"
done

# ---- programs and images: cached below build/cluster ----
fetched() { # fetched PACKAGE...: its modules are in the cache, or could be fetched
        go list -deps -test "$@" >/dev/null 2>"$rig/list" || ! grep -qE 'GOPROXY|dial tcp|Get "https?:' "$rig/list"
}
cd "$here" || exit 1
tags=no_btrfs,no_zfs,no_devmapper,no_aufs,providerless
kubernetes=$(sed -n 's|^\tk8s.io/kubernetes \(v[0-9.]*\)$|\1|p' go.mod)
# Of pinned versions: the same for as long as this says the same.
pinned() { { echo "$version $tags"; cat go.mod go.sum hyper/main.go; } | sha256sum; }
cmp -s "$cache/bin/pinned" <(pinned) || fetched -tags $tags . ./hyper github.com/containerd/containerd/v2/cmd/{containerd,containerd-shim-runc-v2,ctr} helm.sh/helm/v3/cmd/helm ||
        skip "the Go modules are not in the cache and cannot be fetched"
build() { # build PROGRAM PACKAGE
        go build -tags $tags -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$kubernetes -X k8s.io/component-base/version.gitMajor=1
                -X k8s.io/component-base/version.gitMinor=$(cut -d. -f2 <<<"$kubernetes")" -o "$cache/bin/$1" "$2"
}
programs() {
        cmp -s "$cache/bin/pinned" <(pinned) && return
        rm -f "$cache/bin/pinned"
        build hyper ./hyper || return
        for p in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kubectl; do ln -sf hyper "$cache/bin/$p"; done
        for p in containerd containerd-shim-runc-v2 ctr; do build $p github.com/containerd/containerd/v2/cmd/$p || return; done
        build helm helm.sh/helm/v3/cmd/helm && build ptp github.com/containernetworking/plugins/plugins/main/ptp &&
                build host-local github.com/containernetworking/plugins/plugins/ipam/host-local && pinned >"$cache/bin/pinned"
}
tests() {
        ${CC:-gcc} -O2 -static -D_GNU_SOURCE -o "$cache/bin/rights" rights.c && go test -c -vet=off -ldflags "-s -w" -o "$cache/bin/cluster.test" .
}
# One directory in several images: what the tests' pods run, and, for KubeVirt's pods, the launcher and the disk of a VM, none of which does
# anything but wait.
images() {
        local tools=$rig/rootfs/tools p
        rm -rf "$cache/images"
        mkdir -p "$cache/images" "$rig/rootfs/pause" "$tools"/{bin,usr/bin}
        ${CC:-gcc} -O2 -static -o "$rig/rootfs/pause/pause" pause.c || return
        cp "$(command -v busybox)" "$tools/bin/busybox"
        for p in sh sleep cat ls env find stat grep sort cp; do ln -s busybox "$tools/bin/$p"; done
        ln -s /bin/cp "$tools/usr/bin/cp"
        for p in virt-launcher-monitor virt-tail container-disk; do
                printf '#!/bin/sh\ncase "$*" in *--no-op*) exit 0 ;; esac\nexec sleep 100000\n' >"$tools/usr/bin/$p"
                chmod 755 "$tools/usr/bin/$p"
        done
        ./image.sh rig.local/pause:1 /pause "$rig/rootfs/pause" "$cache/images/pause.tar" &&
                ./image.sh rig.local/tools:1 /bin/sh "$tools" "$cache/images/tools.tar" &&
                ./image.sh docker.io/library/launcher:test /bin/sh "$tools" "$cache/images/launcher.tar" &&
                ./image.sh registry.example/debian:12 /bin/sh "$tools" "$cache/images/disk.tar" && another
}
# Sluice's programs again, as another version: another manifest, another digest.
another() {
        local dir=$rig/another old new
        mkdir "$dir" && tar -xf "$IMAGE.oci.tar" -C "$dir" || return
        old=$(jq -r '.manifests[0].digest' "$dir/index.json")
        jq '.annotations["org.opencontainers.image.version"] = "next"' "$dir/blobs/sha256/${old#*:}" >"$dir/manifest"
        new=$(sha256sum "$dir/manifest" | cut -d' ' -f1)
        jq --arg digest "sha256:$new" --argjson size "$(stat -c %s "$dir/manifest")" '.manifests[0] |= (.digest = $digest | .size = $size |
                .annotations["io.containerd.image.name"] = "docker.io/library/sluice:next")' "$dir/index.json" >"$dir/index" &&
                mv "$dir/manifest" "$dir/blobs/sha256/$new" && mv "$dir/index" "$dir/index.json" && tar -C "$dir" -cf "$cache/images/next.tar" blobs index.json oci-layout
}
# The pods that KubeVirt makes of the examples; of a module of its own, with other versions of Kubernetes' libraries.
launchers() {
        local pods=$cache/launchers
        [[ TestALauncherPodHasItsDevices =~ ${RUN:-} ]] || return 0
        made() { cat ../kubevirt/go.mod ../kubevirt/control/*.go "$top"/deploy/examples/*.yaml | sha256sum; }
        ! cmp -s "$pods/made" <(made) || return 0
        rm -rf "$pods"
        mkdir -p "$pods"
        (
                cd ../kubevirt && export CGO_ENABLED=1
                fetched -tags libvirt_dlopen ./control || exit 0
                LAUNCHER_PODS=$pods MANIFESTS=$top/deploy/examples go test -count=1 -vet=off -ldflags '-s -w' -tags libvirt_dlopen -run 'TestTheLauncherPodAsksForWhatTheVMNames' ./control
        ) && made >"$pods/made"
}
mkdir -p "$cache/bin"
started=$SECONDS
programs && tests && images && launchers || finish 0 1 0
echo "programs and images: $((SECONDS - started)) s, $(du -sh "$cache" | cut -f1)"

# ---- the cluster ----
compgen -G "$cache/launchers/*.json" >/dev/null && export RIG_LAUNCHERS=$cache/launchers
export RIG=$rig RIG_BIN=$cache/bin RIG_CGROUP=$name RIG_IMAGES=$cache/images RIG_TOP=$top RIG_IMAGE=$IMAGE.oci.tar RIG_DIGEST
RIG_DIGEST=$(cat "$IMAGE.digest")
inside=(setpriv --pdeathsig KILL unshare --mount --net --pid --fork --kill-child --mount-proc --ipc --propagation private "$here/rig.sh" init)
if [ "${SHELL_INSIDE:-0}" = 1 ]; then
        "${inside[@]}" bash
        exit
fi
"${inside[@]}" "$cache/bin/cluster.test" -test.v -test.timeout 45m ${RUN:+-test.run "$RUN"} >"$rig/out" 2>&1 </dev/null &
unshared=$!
wait $unshared
status=$?
out=$rig/out
passed=$(grep -cE '^--- PASS' "$out") failed=$(grep -cE '^--- FAIL' "$out") skipped=$(grep -cE '^--- SKIP' "$out")
[ "$status" = 0 ] || [ "$failed" != 0 ] || failed=1
if [ "$failed" != 0 ]; then
        grep -vE '^(=== RUN|--- PASS| +--- PASS)' "$out" | tail -n 150
        mkdir -p "$cache/log"
        cp -r "$rig/log" "$out" "$cache/log/"
        echo "logs of the cluster: ${cache#"$top"/}/log"
fi
grep '^# ' "$out"
finish "$passed" "$failed" "$skipped"
