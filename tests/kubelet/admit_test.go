// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
)

// The host l40s-8: roots 15 (18, 19) and 37 (3a, 3b) on NUMA node 0, roots 97 (9a, 9b) and b7 (ba, bb) on node 1.
var gpus = []string{"0000:18:00.0", "0000:19:00.0", "0000:3a:00.0", "0000:3b:00.0", "0000:9a:00.0", "0000:9b:00.0", "0000:ba:00.0", "0000:bb:00.0"}

func numaNode(id string) int { return slices.Index(gpus, id) / 4 }
func pciRoot(id string) int  { return slices.Index(gpus, id) / 2 }

func TestPodsAreAdmittedUnderEveryPolicy(t *testing.T) {
	n := newNode(t, "l40s-8-vfio", noRules)
	n.startDaemon()
	for _, policy := range []string{"none", bestEffort, "restricted", "single-numa-node"} {
		n.policy = policy
		n.startKubelet()
		n.has(l40s, 8, 8)
		one, ids := n.admit(l40s, 1)
		two, ids2 := n.admit(l40s, 2)
		if numaNode(ids2[0]) != numaNode(ids2[1]) || slices.Contains(ids2, ids[0]) {
			t.Errorf("%s: %v after %v", policy, ids2, ids)
		}
		n.pods.remove(one)
		n.pods.remove(two)
		for _, count := range []int64{5, 8} { // more than one node has
			if policy == "single-numa-node" {
				n.refuses(l40s, count, "TopologyAffinityError", "Resources cannot be allocated with Topology locality")
				continue
			}
			pod, ids := n.admit(l40s, count)
			if count == 8 && !slices.Equal(ids, gpus) {
				t.Errorf("%s: %v", policy, ids)
			}
			n.pods.remove(pod)
		}
		if policy == "none" || policy == bestEffort {
			n.refuses(l40s, 9, "UnexpectedAdmissionError", "Requested: 9, Available: 8")
		}
		n.k.shutdown()
	}
}

// One device is left on each node: who insists on one node gets none, who merely wishes gets both.
func TestTwoDevicesOfTwoNodesGoOnlyToThoseWhoTakeThem(t *testing.T) {
	n := newNode(t, "l40s-8-vfio", noRules)
	n.startDaemon()
	for _, policy := range []string{bestEffort, "restricted", "single-numa-node"} {
		n.policy = policy
		n.startKubelet()
		n.has(l40s, 8, 8)
		a, idsA := n.admit(l40s, 3)
		b, idsB := n.admit(l40s, 3)
		if numaNode(idsA[0]) == numaNode(idsB[0]) {
			t.Errorf("%s: %v and %v", policy, idsA, idsB)
		}
		if policy == bestEffort {
			pod, _ := n.admit(l40s, 2)
			n.pods.remove(pod)
		} else {
			n.refuses(l40s, 2, "TopologyAffinityError", "Resources cannot be allocated with Topology locality")
		}
		n.pods.remove(a)
		n.pods.remove(b)
		n.k.shutdown()
	}
}

// refuses is refuse with what the reason and a part of the message must be.
func (n *node) refuses(resource string, count int64, reason, part string) {
	n.t.Helper()
	r, message := n.refuse(resource, count)
	if r != reason || !strings.Contains(message, part) {
		n.t.Errorf("refused with %q: %q; want %q: %q", r, message, reason, part)
	}
}

// Among the devices that its own hints leave, kubelet would take any: what it takes is what sluiced prefers. It first fills
// up a PCI root, and leaves whole ones to those who want two.
func TestPreferredAllocationIsWhatKubeletTakes(t *testing.T) {
	n := newNode(t, "l40s-8-vfio", noRules)
	n.startDaemon()
	for _, policy := range []string{"none", bestEffort} {
		n.policy = policy
		n.startKubelet()
		n.has(l40s, 8, 8)
		var got []string
		for _, count := range []int64{1, 1, 2, 1, 2, 1} {
			_, ids := n.admit(l40s, count)
			got = append(got, fmt.Sprint(ids))
		}
		want := []string{"[0000:18:00.0]", "[0000:19:00.0]", "[0000:3a:00.0 0000:3b:00.0]", "[0000:9a:00.0]", "[0000:ba:00.0 0000:bb:00.0]", "[0000:9b:00.0]"}
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n%v, want\n%v", policy, got, want)
		}
		n.pods.clear()
		n.k.shutdown()
	}
}

// The same by the other strategy: kubelet's own choice would sooner or later be two of one root.
func TestSpreadIsWhatKubeletTakes(t *testing.T) {
	n := startNode(t, "l40s-8-vfio", "rules:\n  - select: {ids: [\"10de:26b9\"]}\n    prefer: spread\n")
	n.has(l40s, 8, 8)
	for range 12 {
		pod, ids := n.admit(l40s, 2)
		if numaNode(ids[0]) != numaNode(ids[1]) || pciRoot(ids[0]) == pciRoot(ids[1]) {
			t.Errorf("%v", ids)
		}
		n.pods.remove(pod)
	}
}

func TestInitContainersDevicesAreUsedAgain(t *testing.T) {
	n := startNode(t, "l40s-8", onAllocate)
	n.has(l40s, 8, 8)
	always := v1.ContainerRestartPolicyAlways
	for _, row := range []struct {
		init, main int64
		sidecar    bool
		shared     int // devices of the init container that the main one has too
	}{{1, 1, false, 1}, {1, 2, false, 1}, {2, 1, false, 1}, {2, 4, false, 2}, {1, 1, true, 0}} {
		p := n.podOf(container("main", l40s, row.main))
		p.Spec.InitContainers = []v1.Container{container("init", l40s, row.init)}
		if row.sidecar {
			p.Spec.InitContainers[0].RestartPolicy = &always
		}
		if r := n.k.admit(p); !r.Admit {
			t.Fatalf("%+v refused: %s: %s", row, r.Reason, r.Message)
		}
		init, main := n.k.assigned(p, "init", l40s), n.k.assigned(p, "main", l40s)
		shared := 0
		for _, id := range init {
			if slices.Contains(main, id) {
				shared++
			}
			if driver(id) != "vfio-pci" {
				t.Errorf("%+v: %s is on %q", row, id, driver(id))
			}
		}
		if int64(len(init)) != row.init || int64(len(main)) != row.main || shared != row.shared {
			t.Errorf("%+v: init has %v, main has %v", row, init, main)
		}
		if !row.sidecar && row.init+row.main == 3 && pciRoot(gpuOf(init, main, 0)) != pciRoot(gpuOf(init, main, 1)) {
			t.Errorf("%+v: what must be included draws its neighbour: init has %v, main has %v", row, init, main)
		}
		n.answers(p, &p.Spec.InitContainers[0], l40sEnv, init)
		n.answers(p, &p.Spec.Containers[0], l40sEnv, main)
		n.pods.remove(p)
	}
}

// gpuOf is the i-th of the longer list.
func gpuOf(a, b []string, i int) string {
	if len(a) > len(b) {
		return a[i]
	}
	return b[i]
}

// Kubelet frees at once and says so to nobody: whoever comes next gets the same device.
func TestTheNextPodGetsWhatTheLastOneHad(t *testing.T) {
	n := startNode(t, "l40s-8", onAllocate)
	n.has(l40s, 8, 8)
	for range 3 {
		pod, ids := n.admit(l40s, 8)
		n.answers(pod, &pod.Spec.Containers[0], l40sEnv, ids)
		n.refuses(l40s, 1, "UnexpectedAdmissionError", "Requested: 1, Available: 0")
		n.pods.remove(pod)
	}
	for range 5 {
		pod, ids := n.admit(l40s, 1)
		if ids[0] != gpus[0] {
			t.Errorf("%v", ids)
		}
		n.answers(pod, &pod.Spec.Containers[0], l40sEnv, ids)
		n.pods.remove(pod)
	}
}
