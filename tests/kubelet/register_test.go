// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	podresapi "k8s.io/kubelet/pkg/apis/podresources/v1"
)

const watcher = "registration: watcher\n"

// hasAll waits until kubelet counts so many resources, each with so many devices, all of them healthy: their names.
func (n *node) hasAll(resources int, devices int64) []string {
	n.t.Helper()
	var names []string
	what := func() string { return fmt.Sprintf("%d resources, there are %d: %v", resources, len(names), names) }
	waitFor(n.t, what, func() bool {
		names = nil
		capacity, allocatable, _ := n.k.devices.GetCapacity()
		for name, c := range capacity {
			if a := allocatable[name]; c.Value() == devices && a.Value() == devices {
				names = append(names, string(name))
			}
		}
		return len(names) == resources
	})
	slices.Sort(names)
	return names
}

func TestBothPathsRegisterOneResource(t *testing.T) {
	for _, path := range []string{noRules, watcher} {
		n := startNode(t, "l40s-8-vfio", path)
		n.has(l40s, 8, 8)
		n.admit(l40s, 1)
		n.d.end()
		n.has(l40s, 8, 0)
		n.k.shutdown()
	}
}

func TestBothPathsRegisterSixteenResources(t *testing.T) {
	for _, path := range []string{noRules, watcher} {
		n := startNode(t, "gpus-64-of-16-vfio", path)
		for _, name := range n.hasAll(16, 4) {
			n.admit(name, 4)
		}
		n.d.end()
		n.k.shutdown()
	}
}

// A daemon that comes first finds the kubelet that comes later, on both paths; and a path that was changed is left behind.
func TestKubeletMayComeLater(t *testing.T) {
	for _, path := range []string{noRules, watcher} {
		n := newNode(t, "gpus-64-of-16-vfio", path)
		n.startDaemon()
		if path == noRules {
			waitFor(t, func() string { return "the word of it" }, func() bool { return strings.Contains(n.d.said(), "kubelet is not there yet") })
		}
		n.startKubelet()
		n.hasAll(16, 4)
		n.restartKubelet()
		n.hasAll(16, 4)
		n.d.kill() // leaves its sockets
		n.config = watcher
		n.startDaemon()
		n.hasAll(16, 4)
		n.d.end()
		n.k.shutdown()
	}
}

func TestPodresourcesSaysWhatSluiceGave(t *testing.T) {
	n := startNode(t, "l40s-8-vfio", noRules)
	n.has(l40s, 8, 8)
	pod, ids := n.admit(l40s, 2)
	client := podresapi.NewPodResourcesListerClient(dial(t, podResSocket))
	all, err := client.GetAllocatableResources(soonContext(t), &podresapi.AllocatableResourcesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got := nodesOf(all.Devices); len(got) != 8 || got["0000:18:00.0"] != 0 || got["0000:bb:00.0"] != 1 {
		t.Errorf("allocatable: %v", got)
	}
	list, err := client.List(soonContext(t), &podresapi.ListPodResourcesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.PodResources) != 1 || list.PodResources[0].Name != pod.Name || len(list.PodResources[0].Containers) != 1 {
		t.Fatalf("pods: %v", list.PodResources)
	}
	got := nodesOf(list.PodResources[0].Containers[0].Devices)
	if _, ok := got[ids[0]]; !ok || len(got) != 2 || got[ids[0]] != got[ids[1]] {
		t.Errorf("%s has %v, want %v on one node", pod.Name, got, ids)
	}
}

// nodesOf says which NUMA node each device of L40S is on; -1 when it is told for no node or for several.
func nodesOf(devices []*podresapi.ContainerDevices) map[string]int64 {
	got := map[string]int64{}
	for _, d := range devices {
		if d.ResourceName != l40s {
			continue
		}
		for _, id := range d.DeviceIds {
			got[id] = -1
			if nodes := d.Topology.GetNodes(); len(nodes) == 1 {
				got[id] = nodes[0].ID
			}
		}
	}
	return got
}

func hints(n *node, p *v1.Pod, resource string) []string {
	var all []string
	for _, h := range n.k.devices.GetTopologyHints(p, &p.Spec.Containers[0])[resource] {
		all = append(all, fmt.Sprintf("%v %v", h.NUMANodeAffinity.GetBits(), h.Preferred))
	}
	slices.Sort(all)
	return all
}

func TestTopologyHintsAreTheHostsNodes(t *testing.T) {
	n := startNode(t, "l40s-8-vfio", noRules)
	n.has(l40s, 8, 8)
	for _, row := range []struct {
		count int64
		want  []string
	}{
		{1, []string{"[0 1] false", "[0] true", "[1] true"}},
		{4, []string{"[0 1] false", "[0] true", "[1] true"}},
		{5, []string{"[0 1] true"}},
	} {
		p := n.pod(l40s, row.count)
		if got := hints(n, p, l40s); !slices.Equal(got, row.want) {
			t.Errorf("%d devices: %v, want %v", row.count, got, row.want)
		}
		n.pods.remove(p)
	}
}

// Devices whose node is unknown must not look like devices of node 0, and must stay allocatable under the strictest policy.
func TestAnUnknownNodeIsNoHint(t *testing.T) {
	const a40 = "nvidia.com/GA102GL_A40"
	n := newNode(t, "numa-unknown", noRules)
	n.policy = "single-numa-node"
	n.startKubelet()
	n.startDaemon()
	n.has(a40, 4, 4)
	p := n.pod(a40, 4)
	if got := hints(n, p, a40); got != nil {
		t.Errorf("hints: %v", got)
	}
	n.pods.remove(p)
	n.admit(a40, 4)
}
