// SPDX-License-Identifier: Apache-2.0

// Package kubelet holds the real sluiced to the code that will call it: kubelet's device manager, topology manager, plugin
// manager and podresources server as libraries, no cluster, no container runtime. $SLUICE_BIN has the programs.
//
//	main_test.go    a mount namespace for the whole run, kubelet's log
//	life_test.go    one life of a kubelet, and the pods that outlive it
//	daemon_test.go  one sluiced and the simulated host below it
//	node_test.go    both together: what a test starts with
//	plugin_test.go  the control: a plugin on grpc-go that uses every field
//	truth_test.go   what tests/fakekubelet claims, row by row, held to kubelet's code (truth_peers_test.go, actor_test.go)
//	compat_test.go  signatures that differ between kubelet's versions (go.mod is 1.36, k1XX.mod with tag k1XX the others)
package kubelet

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"k8s.io/klog/v2"
)

const kubeletLog = "/var/lib/kubelet.log"

// Kubelet's paths are constants, so the test binary runs itself again in a mount namespace of its own with an empty /var/lib.
// Go's threads share no unshare(2): it must be a new process, not a call in this one.
func TestMain(m *testing.M) {
	const inside = "SLUICE_TEST_INSIDE"
	if os.Getenv(inside) == "" {
		os.Exit(runInside(append(os.Environ(), inside+"=1")))
	}
	if err := syscall.Mount("tmpfs", "/var/lib", "tmpfs", 0, "mode=0755"); err != nil {
		fmt.Fprintln(os.Stderr, "cannot mount a tmpfs on /var/lib:", err)
		os.Exit(1)
	}
	if err := logTo(kubeletLog); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	klog.Flush()
	os.Exit(code)
}

func runInside(env []string) int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	if err := cmd.Run(); err != nil {
		if cmd.ProcessState == nil {
			fmt.Fprintln(os.Stderr, "cannot run in a mount namespace:", err)
		}
		return 1
	}
	return 0
}

// logTo sends what kubelet's code logs to a file: of interest when a test fails.
func logTo(path string) error {
	flags := flag.NewFlagSet("klog", flag.PanicOnError)
	klog.InitFlags(flags)
	_ = flags.Set("logtostderr", "false")
	_ = flags.Set("stderrthreshold", "FATAL") // else errors go to stderr as well
	_ = flags.Set("v", "4")
	log, err := os.Create(path)
	if err == nil {
		klog.SetOutput(log)
	}
	return err
}
