// SPDX-License-Identifier: Apache-2.0

// Package cluster has what a user of a cluster with Sluice sees, on a control plane, a kubelet, a containerd and a runc of its own
// (run.sh, rig.sh). The tests share the cluster and run in the order of the files; each says which release it needs (release), so
// that one alone can be run (RUN=regexp).
//
//	main_test.go    the cluster: programs, kubectl, helm
//	release_test.go one Helm release of charts/sluice: its installation, the rights of its pod
//	pod_test.go     pods that ask for devices; quota
//	restart_test.go kubelet, containerd, the daemon die; a refusal
//	change_test.go  upgrades, drain, groups of nodes, removal
//	launcher_test.go the pods that KubeVirt makes of deploy/examples
//	rights_test.go  what each variant can write, beside docs/security.md
//	figures_test.go figures for docs/benchmarks.md
package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// What run.sh says.
var (
	rig = os.Getenv("RIG")
	bin = os.Getenv("RIG_BIN")
	top = os.Getenv("RIG_TOP")
)

const (
	device = "nvidia.com/AD102GL_L40S"
	node   = "rig"
	// Long, for a machine that does other things as well: none of it is waited for when all is well.
	patience = 8 * time.Minute
)

var (
	client kubernetes.Interface
	ctx    = context.Background()
)

func TestMain(m *testing.M) {
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(rig, "pki/admin.conf"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	config.QPS, config.Burst = 200, 200
	client = kubernetes.NewForConfigOrDie(config)
	os.Exit(m.Run())
}

// run is the output of a program that has to succeed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := try(name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

// try is the output of a program, what it says of errors included.
func try(name string, args ...string) (string, error) {
	out, err := exec.Command(filepath.Join(bin, name), args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func kubectl(t *testing.T, args ...string) string { t.Helper(); return run(t, "kubectl", args...) }

// applied are the values that release has made sure of since the last other use of helm.
var applied string

func helm(t *testing.T, args ...string) string {
	t.Helper()
	applied = ""
	return run(t, "helm", args...)
}

// figure is a line that run.sh shows.
func figure(format string, args ...any) { fmt.Printf("# "+format+"\n", args...) }

// until waits until wrong has nothing to say.
func until(t *testing.T, what string, wrong func() string) {
	t.Helper()
	last := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if last = wrong(); last == "" {
			return
		}
	}
	t.Fatalf("%s: not within %v: %s", what, patience, last)
}

// kill ends a program of the rig without a word.
func kill(t *testing.T, program string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(rig, program+".pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err != nil {
		t.Fatalf("cannot kill %s: %v", program, err)
	}
	until(t, program+" is gone", func() string {
		if syscall.Kill(pid, 0) == nil {
			return "it is there"
		}
		return ""
	})
}

// start starts a program of the rig again.
func start(t *testing.T, program string) {
	t.Helper()
	if out, err := exec.Command(filepath.Join(top, "tests/cluster/rig.sh"), "start", program).CombinedOutput(); err != nil {
		t.Fatalf("cannot start %s: %v\n%s", program, err, out)
	}
}

// pidsOf are the processes of that name.
func pidsOf(name string) []int {
	var pids []int
	all, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, file := range all {
		if comm, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(comm)) == name {
			pid, _ := strconv.Atoi(strings.Split(file, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}
