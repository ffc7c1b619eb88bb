// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// life is what must not change of a pod that runs on: its container, its restarts, its device.
func life(t *testing.T, name string) string {
	t.Helper()
	s := runs(t, "default", name).Status.ContainerStatuses[0]
	return fmt.Sprintf("%s, %d restarts, %s", s.ContainerID, s.RestartCount, address(t, name))
}

// registered is the name and inode of the sockets that kubelet was told of.
func registered(t *testing.T) string {
	t.Helper()
	var all []string
	for _, path := range sockets(t) {
		if info, err := os.Stat(path); err == nil && filepath.Dir(path) == plugins {
			all = append(all, fmt.Sprintf("%s %d", path, info.Sys().(*syscall.Stat_t).Ino))
		}
	}
	return strings.Join(all, "\n")
}

// unhurt runs two pods, lets something happen, and sees to it that they have not noticed and that a third one is given a device.
func unhurt(t *testing.T, happens func()) {
	t.Helper()
	release(t)
	create(t, "default", podOf("a", 1))
	create(t, "default", podOf("b", 2))
	runs(t, "default", "a")
	runs(t, "default", "b")
	lives := func() string {
		return life(t, "a") + "; " + fmt.Sprint(runs(t, "default", "b").Status.ContainerStatuses[0].ContainerID, inside(t, "b", "sh", "-c", "echo $"+variable))
	}
	before := lives()
	happens()
	allocatable(t, device, 8)
	create(t, "default", podOf("after", 1))
	runs(t, "default", "after")
	if bdf := address(t, "after"); strings.Contains(before, bdf) {
		t.Errorf("%s was given to a second pod: %s", bdf, before)
	}
	if after := lives(); after != before {
		t.Errorf("the pods' lives were\n%s\nand are\n%s", before, after)
	}
}

func TestAKubeletThatDiesHurtsNobody(t *testing.T) {
	unhurt(t, func() {
		before := registered(t)
		daemon := daemonPod(t).Status.ContainerStatuses[0]
		kill(t, "kubelet")
		start(t, "kubelet")
		until(t, "a new kubelet is told of new sockets", func() string {
			if now := registered(t); now == "" || now == before {
				return now
			}
			return ""
		})
		until(t, "the daemon is the same", func() string {
			s := daemonPod(t).Status.ContainerStatuses[0]
			if s.ContainerID != daemon.ContainerID || s.RestartCount != daemon.RestartCount || !s.Ready {
				return fmt.Sprintf("%+v", s)
			}
			return ""
		})
	})
}

func TestAContainerdThatDiesHurtsNobody(t *testing.T) {
	unhurt(t, func() {
		before := daemonPod(t).Status.ContainerStatuses[0]
		kill(t, "containerd")
		start(t, "containerd")
		until(t, "containerd answers", func() string {
			out, err := try("ctr", "-a", "/run/containerd.sock", "version")
			if err != nil {
				return out
			}
			return ""
		})
		if s := daemonPod(t).Status.ContainerStatuses[0]; s.ContainerID != before.ContainerID || s.RestartCount != before.RestartCount {
			t.Errorf("the daemon was %+v and is %+v", before, s)
		}
	})
}

// Kubelet starts it again; what runs has its devices, and what comes gets others.
func TestADaemonThatIsKilledHurtsNobody(t *testing.T) {
	unhurt(t, func() {
		before := daemonPod(t).Status.ContainerStatuses[0]
		for _, pid := range pidsOf("sluiced") {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		until(t, "kubelet starts it again", func() string {
			s := daemonPod(t).Status.ContainerStatuses[0]
			if s.RestartCount != before.RestartCount+1 || !s.Ready {
				return fmt.Sprintf("%+v", s)
			}
			return ""
		})
	})
}

// A VM's process that lives longer than its pod: the next pod's event and status say whose the device still is.
func TestARefusalSaysItsSentenceInThePod(t *testing.T) {
	release(t)
	create(t, "default", podOf("old", 8))
	runs(t, "default", "old")
	held := strings.Fields(inside(t, "old", "sh", "-c", "ls -d /dev/vfio/[0-9]*"))[0]
	sim := func(args ...string) string {
		return kubectl(t, append([]string{"-n", namespace, "exec", "daemonset/sluice", "--", "/usr/bin/sluicectl", "sim", "--sim-dir", "/run/sluice/sim"}, args...)...)
	}
	sim("hold", held, "4711", "qemu-system-x86")
	t.Cleanup(func() { sim("hold", held, "-4711") })
	remove(t, "default", "old")
	create(t, "default", podOf("new", 8))
	until(t, "the new pod is refused", func() string {
		p := get(t, "default", "new")
		if s := state(p); p.Status.Phase != corev1.PodFailed || p.Status.Reason != "UnexpectedAdmissionError" || !strings.Contains(s, "qemu-system-x86") {
			return s
		}
		return ""
	})
	figure("refused: %s", get(t, "default", "new").Status.Message)
	until(t, "an event says it, too", func() string {
		if out := kubectl(t, "describe", "pod", "new"); !strings.Contains(out, "UnexpectedAdmissionError") || !strings.Contains(out, "qemu-system-x86") {
			return out
		}
		return ""
	})
}
