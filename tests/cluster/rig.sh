#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# rig.sh: a one-node Kubernetes in the mount, network, process and IPC namespaces that run.sh has made. Killing their first process
# ends every program and container; nothing outside $RIG and the cgroups $RIG_CGROUP is written.
#   rig.sh init COMMAND...   the first process: brings all up, runs COMMAND, ends with its status
#   rig.sh start PROGRAM     starts one program again; its pid is in $RIG/PROGRAM.pid, its log in $RIG/log
# Environment: RIG (a directory of its own), RIG_BIN (the programs), RIG_CGROUP (a name), RIG_IMAGES (archives to load),
# RIG_IMAGE and RIG_DIGEST (Sluice's).
set -euo pipefail
PATH=$RIG_BIN:$PATH
export KUBECONFIG=$RIG/pki/admin.conf

certificates() {
        mkdir -p "$RIG/pki"
        cd "$RIG/pki"
        local key="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
        # shellcheck disable=SC2086 # options
        issue() { # issue NAME SUBJECT EXTENSIONS
                openssl req $key -subj "$2" -keyout "$1.key" -out "$1.csr"
                openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -extfile <(echo "$3") -out "$1.crt"
        }
        # shellcheck disable=SC2086
        openssl req -x509 $key -days 30 -subj /CN=rig-ca -keyout ca.key -out ca.crt
        issue apiserver /CN=kube-apiserver "subjectAltName=DNS:localhost,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.96.0.1,IP:10.250.0.1"
        issue kubelet-client /O=system:masters/CN=apiserver-kubelet-client extendedKeyUsage=clientAuth
        openssl genrsa -out sa.key 2048
        openssl rsa -in sa.key -pubout -out sa.pub
        user admin admin system:masters
        user controllers system:kube-controller-manager ""
        user scheduler system:kube-scheduler ""
        user kubelet system:node:rig system:nodes
}

user() { # user FILE NAME GROUP
        local token
        token=$(openssl rand -hex 16)
        echo "$token,$2,$2,$3" >>tokens.csv
        cat >"$1.conf" <<END
apiVersion: v1
kind: Config
clusters: [{name: rig, cluster: {server: "https://127.0.0.1:443", certificate-authority: $RIG/pki/ca.crt}}]
users: [{name: $1, user: {token: $token}}]
contexts: [{name: rig, context: {cluster: rig, user: $1}}]
current-context: rig
END
}

# An overlay on an overlay cannot be mounted: there images are copied.
snapshotter() {
        mkdir -p "$RIG/try"/{lower,upper,work,all}
        if mount -t overlay none -o "lowerdir=$RIG/try/lower,upperdir=$RIG/try/upper,workdir=$RIG/try/work" "$RIG/try/all" 2>/dev/null; then
                umount "$RIG/try/all"
                echo overlayfs
        else
                echo native
        fi
}

configurations() {
        mkdir -p "$RIG/etc/cni" "$RIG/cdi"
        cat >"$RIG/etc/cni/10-rig.conflist" <<END
{"cniVersion": "1.0.0", "name": "rig", "plugins": [{"type": "ptp", "ipMasq": false,
 "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}], "dataDir": "$RIG/cni"}}]}
END
        # restrict_oom_score_adj: runc ends where CAP_SYS_RESOURCE is missing.
        cat >"$RIG/etc/containerd.toml" <<END
version = 3
root = "$RIG/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "/run/containerd.sock"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "$(snapshotter)"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "rig.local/pause:1"
[plugins."io.containerd.cri.v1.runtime"]
  enable_cdi = true
  restrict_oom_score_adj = true
  cdi_spec_dirs = ["$RIG/cdi"]
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["$RIG_BIN"]
    conf_dir = "$RIG/etc/cni"
    use_internal_loopback = true
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        BinaryName = "$(command -v runc)"
        SystemdCgroup = false
END
        cat >"$RIG/etc/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 127.0.0.1
readOnlyPort: 0
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: false}
  x509: {clientCAFile: $RIG/pki/ca.crt}
authorization: {mode: AlwaysAllow}
containerRuntimeEndpoint: unix:///run/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$RIG_CGROUP
failCgroupV1: false
failSwapOn: false
evictionHard: {memory.available: 100Mi, nodefs.available: 1Gi, imagefs.available: 1Gi}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
volumePluginDir: /var/lib/kubelet/volumeplugins
resolvConf: ""
clusterDNS: [10.96.0.10]
syncFrequency: 10s
END
}

start() {
        local command
        case $1 in
        containerd) command="containerd --config $RIG/etc/containerd.toml" ;;
        etcd) command="etcd --data-dir=$RIG/etcd --unsafe-no-fsync --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379
                --listen-peer-urls=http://127.0.0.1:2380 --log-level=warn" ;;
        kube-apiserver) command="kube-apiserver --etcd-servers=http://127.0.0.1:2379 --secure-port=443 --advertise-address=10.250.0.1
                --tls-cert-file=$RIG/pki/apiserver.crt --tls-private-key-file=$RIG/pki/apiserver.key --client-ca-file=$RIG/pki/ca.crt
                --kubelet-client-certificate=$RIG/pki/kubelet-client.crt --kubelet-client-key=$RIG/pki/kubelet-client.key --kubelet-preferred-address-types=Hostname
                --token-auth-file=$RIG/pki/tokens.csv --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction
                --service-account-issuer=https://kubernetes.default.svc --service-account-key-file=$RIG/pki/sa.pub --service-account-signing-key-file=$RIG/pki/sa.key
                --service-cluster-ip-range=10.96.0.0/16 --allow-privileged=true" ;;
        kube-controller-manager) command="kube-controller-manager --kubeconfig=$RIG/pki/controllers.conf --bind-address=127.0.0.1 --leader-elect=false
                --service-account-private-key-file=$RIG/pki/sa.key --root-ca-file=$RIG/pki/ca.crt --use-service-account-credentials=true
                --flex-volume-plugin-dir=/var/lib/kubelet/volumeplugins" ;;
        kube-scheduler) command="kube-scheduler --kubeconfig=$RIG/pki/scheduler.conf --bind-address=127.0.0.1 --leader-elect=false" ;;
        kubelet) command="kubelet --config=$RIG/etc/kubelet.yaml --kubeconfig=$RIG/pki/kubelet.conf --hostname-override=rig --node-ip=10.250.0.1" ;;
        *) echo "rig.sh: no program $1" >&2; return 2 ;;
        esac
        # shellcheck disable=SC2086 # options
        setsid $command >>"$RIG/log/$1.log" 2>&1 </dev/null &
        echo $! >"$RIG/$1.pid"
}

await() { # await SECONDS COMMAND...
        local end=$((SECONDS + $1))
        shift
        until "$@" >/dev/null 2>&1; do
                [ "$SECONDS" -lt "$end" ] || { echo "rig.sh: no success in time: $*" >&2; return 1; }
                sleep 0.5
        done
}

cgroups() {
        local c
        if [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]; then
                echo "+cpuset +cpu +memory +pids" >/sys/fs/cgroup/cgroup.subtree_control
                mkdir -p "/sys/fs/cgroup/$RIG_CGROUP"
                return
        fi
        for c in /sys/fs/cgroup/*/; do
                mkdir -p "$c$RIG_CGROUP"
                [ ! -e "$c/cpuset.cpus" ] || for f in cpuset.cpus cpuset.mems; do cat "$c/$f" >"$c/$RIG_CGROUP/$f"; done
        done
}

init() {
        mount --make-rshared /
        mount -t tmpfs none /run
        mkdir -p /run/lock /run/modules "$RIG/kubelet"
        mount -t tmpfs none /var/log
        mount -t tmpfs none /var/lib
        mkdir -p /var/lib/kubelet /var/lib/misc
        mount --bind "$RIG/kubelet" /var/lib/kubelet
        # kubelet sets these for the whole machine: it finds, and writes, copies.
        for s in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1; do
                mkdir -p "/run/sys/${s%/*}"
                echo "${s#*=}" >"/run/sys/${s%=*}"
                mount --bind "/run/sys/${s%=*}" "/proc/sys/${s%=*}"
        done
        printf '127.0.0.1 localhost rig\n' >/run/hosts
        mount --bind /run/hosts /etc/hosts
        cgroups
        # kubelet wants an address that is not a loopback's; pods reach the API server at its service's address without kube-proxy.
        ip link set lo up
        ip link add rig0 type bridge
        ip addr add 10.250.0.1/24 dev rig0
        ip link set rig0 up
        ip route add default via 10.250.0.254 dev rig0
        ip addr add 10.96.0.1/32 dev lo
        echo 1 >/proc/sys/net/ipv4/ip_forward
        configurations
        certificates 2>"$RIG/log/openssl.log"
        start containerd
        start etcd
        await 300 ctr -a /run/containerd.sock version
        load >"$RIG/log/import.log" 2>&1 || { tail -n 5 "$RIG/log/import.log" >&2; return 1; }
        start kube-apiserver
        await 900 kubectl get --raw /readyz
        for p in kube-controller-manager kube-scheduler kubelet; do start $p; done
        await 900 kubectl get serviceaccount default
        await 900 kubectl wait --for=condition=Ready node/rig --timeout=300s
}

# Sluice's image is the very one that was built: it has to come out under the digest that was written beside it. Its name is the chart's
# default, so that no value but the digest is needed.
load() {
        local archive name=docker.io/library/sluice images=(ctr -a /run/containerd.sock -n k8s.io image)
        for archive in "$RIG_IMAGES"/*.tar "$RIG_IMAGE"; do "${images[@]}" import "$archive"; done
        "${images[@]}" tag "$("${images[@]}" ls -q "target.digest==$RIG_DIGEST" | grep "^$name:")" "$name@$RIG_DIGEST"
}

case ${1:-} in
init)
        mkdir -p "$RIG/log"
        init
        shift
        "$@" ;;
start) start "$2" ;;
*) sed -n 3,9p "$0" >&2; exit 2 ;;
esac
