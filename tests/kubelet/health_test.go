// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"slices"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"
)

// says is what a user reads in the pod when sluiced refuses: each part occurs, and it is one printable line.
func (n *node) says(resource string, count int64, code string, parts ...string) {
	n.t.Helper()
	reason, message := n.refuse(resource, count)
	n.sentence(reason, message, code, parts...)
}

func (n *node) sentence(reason, message, code string, parts ...string) {
	n.t.Helper()
	if reason != "UnexpectedAdmissionError" || !strings.HasPrefix(message, "Allocate failed due to rpc error: code = "+code+" desc = ") ||
		!strings.HasSuffix(message, ", which is unexpected") {
		n.t.Errorf("%s: %s", reason, message)
	}
	for _, part := range parts {
		if !strings.Contains(message, part) {
			n.t.Errorf("%q is missing: %s", part, message)
		}
	}
	if strings.ContainsFunc(message, func(c rune) bool { return c < ' ' }) {
		n.t.Errorf("control characters: %q", message)
	}
}

// Each refusal names the device, the word that docs/reasons.md explains, and what can be done.
func TestRefusalsReadInThePod(t *testing.T) {
	n := startNode(t, "l40s-8", "bindDeadline: 1s\n"+onAllocate)
	n.has(l40s, 8, 8)
	first := gpus[0] // is what kubelet takes

	sim(t, "hold", "/dev/nvidia0", "4711", "Xorg")
	n.says(l40s, 1, "FailedPrecondition", first, "Xorg", "4711", "[held]")
	if driver(first) != "nvidia" {
		t.Errorf("%s is on %q", first, driver(first))
	}
	sim(t, "hold", "/dev/nvidia0", "-4711")

	sim(t, "fault", "drivers_probe "+first+" ignore times 1")
	n.says(l40s, 1, "Internal", first, "vfio-pci", "[step-failed]")
	if driver(first) != "nvidia" { // rolled back
		t.Errorf("%s is on %q", first, driver(first))
	}
	n.has(l40s, 8, 8)

	pod, _ := n.admit(l40s, 1)
	n.pods.remove(pod)
	sim(t, "hold", "/dev/vfio/23", "4712", "qemu-kvm") // the former VM takes its time
	n.says(l40s, 1, "FailedPrecondition", first, "qemu-kvm", "4712", "[held]")
	time.AfterFunc(300*time.Millisecond, func() { sim(t, "hold", "/dev/vfio/23", "-4712") })
	pod, ids := n.admit(l40s, 1) // and this time ends while the next one waits
	if ids[0] != first {
		t.Errorf("%v", ids)
	}

	sim(t, "fault", "unbind "+gpus[1]+" hang")
	n.says(l40s, 1, "DeadlineExceeded", gpus[1], "[deadline]")
	n.has(l40s, 8, 7) // stuck, and not asked for again
	second, ids := n.admit(l40s, 1)
	if ids[0] == gpus[1] {
		t.Errorf("%v is stuck", ids)
	}
	sim(t, "fault", "") // lets the hand go
	n.answers(pod, &pod.Spec.Containers[0], l40sEnv, gpus[:1])
	n.answers(second, &second.Spec.Containers[0], l40sEnv, ids)
}

func TestHealthReachesKubelet(t *testing.T) {
	n := startNode(t, "l40s-8-vfio", noRules)
	n.has(l40s, 8, 8)
	pod, ids := n.admit(l40s, 2)
	for range 3 {
		sim(t, "unplug", gpus[2])
		n.has(l40s, 8, 7)
		rest, others := n.admit(l40s, 5)
		if slices.Contains(others, gpus[2]) {
			t.Errorf("the unplugged one is among %v", others)
		}
		n.refuses(l40s, 1, "UnexpectedAdmissionError", "Requested: 1, Available: 0")
		n.pods.remove(rest)
		sim(t, "plug", gpus[2])
		n.has(l40s, 8, 8)
	}
	// What a pod has stays its own when it falls off, and is listed as long as it has it.
	sim(t, "unplug", ids[0])
	n.has(l40s, 8, 7)
	if got := n.k.assigned(pod, "main", l40s); !slices.Equal(got, ids) {
		t.Errorf("%v, want %v", got, ids)
	}
	for _, id := range gpus {
		if id != ids[0] {
			sim(t, "unplug", id)
		}
	}
	n.has(l40s, 8, 0)
	n.refuses(l40s, 1, "UnexpectedAdmissionError", "no healthy devices present; cannot allocate unhealthy devices "+l40s)
}

// admission runs beside the test.
type admission struct {
	pod    *v1.Pod
	result chan lifecycle.PodAdmitResult
}

func (n *node) admitBeside(resource string, count int64) admission {
	a := admission{n.pod(resource, count), make(chan lifecycle.PodAdmitResult, 1)}
	k := n.k
	go func() { a.result <- k.admit(a.pod) }()
	return a
}

// await is its answer; kubelet itself would wait for ever.
func (n *node) await(a admission) lifecycle.PodAdmitResult {
	n.t.Helper()
	select {
	case r := <-a.result:
		return r
	case <-time.After(soon):
		n.t.Fatalf("%s is neither admitted nor refused", a.pod.Name)
		return lifecycle.PodAdmitResult{}
	}
}

// From 1.34 on kubelet reads the device that it asked for after the answer, through a nil pointer if the list has dropped it
// meanwhile: the whole node would go down.
func TestADeviceInFlightIsNeverDropped(t *testing.T) {
	const denyAll = "rules:\n  - deny: true\n"
	for _, row := range []struct {
		what    string
		meddle  func(n *node)
		healthy int64  // once it has been noticed
		refusal string // word of the reason
	}{
		{"nothing", func(*node) {}, 8, ""},
		{"unplugged", func(n *node) { sim(n.t, "unplug", gpus[0]) }, 7, "[gone]"},
		{"denied", func(n *node) { writeConfig(n.t, denyAll) }, 0, "[not-healthy]"},
		{"three unplugged", func(n *node) {
			for _, id := range gpus[:3] {
				sim(n.t, "unplug", id)
			}
		}, 5, "[gone]"},
	} {
		n := startNode(t, "l40s-8", onAllocate)
		n.has(l40s, 8, 8)
		sim(t, "fault", "unbind "+gpus[0]+" delay 2000 times 1")
		a := n.admitBeside(l40s, 1)
		time.Sleep(100 * time.Millisecond)
		row.meddle(n)
		n.has(l40s, 8, row.healthy)
		r := n.await(a)
		if r.Admit != (row.refusal == "") {
			t.Errorf("%s: admitted %v: %s", row.what, r.Admit, r.Message)
		} else if !r.Admit {
			n.sentence(r.Reason, r.Message, "FailedPrecondition", gpus[0], row.refusal)
		}
		if c, _ := n.k.count(l40s); c != 8 {
			t.Errorf("%s: %d devices are listed", row.what, c)
		}
		n.d.end()
		n.k.shutdown()
	}
}
