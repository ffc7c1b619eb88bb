// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
)

// options is what kubelet hands to the container runtime, in a form that can be compared.
type options struct {
	envs  map[string]string
	nodes []string // sorted
}

func (o options) String() string { return fmt.Sprintf("%v %v", o.envs, o.nodes) }

// start is the start of a container as far as devices go: PreStartContainer, then what the runtime is told.
func (n *node) start(p *v1.Pod, c *v1.Container) options {
	n.t.Helper()
	o, err := runOptions(n.k.devices, p, c)
	if err != nil || o == nil {
		n.t.Fatalf("%s of %s cannot start: %v", c.Name, p.Name, err)
	}
	got := options{envs: map[string]string{}}
	for _, e := range o.Envs {
		got.envs[e.Name] = e.Value
	}
	for _, d := range o.Devices {
		if d.PathInContainer != d.PathOnHost || d.Permissions != "mrw" {
			n.t.Errorf("%s of %s: node %+v", c.Name, p.Name, d)
		}
		got.nodes = append(got.nodes, d.PathOnHost)
	}
	slices.Sort(got.nodes)
	if len(o.Envs) != len(got.envs) || len(o.Mounts)+len(o.Annotations)+len(o.CDIDevices) != 0 {
		n.t.Errorf("%s of %s: %+v", c.Name, p.Name, *o)
	}
	return got
}

// answers starts a container that has devices of one resource: one variable with their sorted addresses; VFIO's own node, the
// node of each group, and of each device where the host has such nodes.
func (n *node) answers(p *v1.Pod, c *v1.Container, env string, ids []string) {
	n.t.Helper()
	want := options{envs: map[string]string{env: strings.Join(ids, ",")}, nodes: []string{"/dev/vfio/vfio"}}
	for _, id := range ids {
		want.nodes = append(want.nodes, nodes(n.t, id)...)
	}
	slices.Sort(want.nodes)
	n.wants(p, c, want)
}

func (n *node) wants(p *v1.Pod, c *v1.Container, want options) {
	n.t.Helper()
	got := n.start(p, c)
	if !maps.Equal(got.envs, want.envs) || !slices.Equal(got.nodes, want.nodes) {
		n.t.Errorf("%s of %s is started with\n%v, want\n%v", c.Name, p.Name, got, want)
	}
}

// nodes of one PCI device, read from the simulated host.
func nodes(t *testing.T, bdf string) []string {
	t.Helper()
	dir := simDir + "/sys/bus/pci/devices/" + bdf
	group, err := os.Readlink(dir + "/iommu_group")
	if err != nil {
		t.Fatal(err)
	}
	all := []string{"/dev/vfio/" + filepath.Base(group)}
	devices, _ := filepath.Glob(dir + "/vfio-dev/vfio*")
	for _, d := range devices {
		node := "/dev/vfio/devices/" + filepath.Base(d)
		if _, err := os.Stat(simDir + node); err == nil {
			all = append(all, node)
		}
	}
	return all
}

// Word for word what KubeVirt and the runtime need, by kind of device. The kubelet takes what is preferred: the first ones.
func TestWhatTheRuntimeIsTold(t *testing.T) {
	for _, row := range []struct {
		host, config, resource string
		capacity, count        int64
		env, value, nodes      string
	}{
		{"l40s-8-vfio", noRules, l40s, 8, 1, l40sEnv, "0000:18:00.0", "/dev/vfio/23 /dev/vfio/devices/vfio0 /dev/vfio/vfio"},
		{"l40s-8-vfio", noRules, l40s, 8, 2, l40sEnv, "0000:18:00.0,0000:19:00.0",
			"/dev/vfio/23 /dev/vfio/25 /dev/vfio/devices/vfio0 /dev/vfio/devices/vfio1 /dev/vfio/vfio"},
		{"l40s-8", onAllocate, l40s, 8, 2, l40sEnv, "0000:18:00.0,0000:19:00.0", "/dev/vfio/23 /dev/vfio/25 /dev/vfio/vfio"}, // no cdev there
		{"mdev-a2", noRules, "nvidia.com/NVIDIA_A2-4Q", 2, 2, "MDEV_PCI_RESOURCE_NVIDIA_COM_NVIDIA_A2-4Q",
			"6bd3d5f6-1d4c-4c0a-9a53-0a3a7f1e5b01,c1f0a6de-52b7-4a7e-8f5d-3b9d6c2e7a02", "/dev/vfio/120 /dev/vfio/121 /dev/vfio/vfio"},
		{"vgpu-l40s", noRules, "nvidia.com/NVIDIA_L40S-24Q", 2, 2, "PCI_RESOURCE_NVIDIA_COM_NVIDIA_L40S-24Q", "0000:26:00.4,0000:26:00.5",
			"/dev/vfio/160 /dev/vfio/161 /dev/vfio/devices/vfio0 /dev/vfio/devices/vfio1 /dev/vfio/vfio"},
		// A companion is bound and nameless.
		{"desktop-3090-second", "rules:\n  - select: {addresses: [\"0000:02:00.0\"]}\n    resource: example.com/a.b-c\n    bind: on-allocate\n",
			"example.com/a.b-c", 1, 1, "PCI_RESOURCE_EXAMPLE_COM_A_B-C", "0000:02:00.0", "/dev/vfio/13 /dev/vfio/vfio"},
		{"two-gpus-one-group", "rules:\n  - select: {ids: [\"10de:26b9\"]}\n    group: one-device\n", l40s, 2, 2, l40sEnv,
			"0000:03:00.0,0000:05:00.0", "/dev/vfio/20 /dev/vfio/22 /dev/vfio/vfio"},
	} {
		t.Run(row.resource, func(t *testing.T) {
			n := startNode(t, row.host, row.config)
			n.has(row.resource, row.capacity, row.capacity)
			p, _ := n.admit(row.resource, row.count)
			n.wants(p, &p.Spec.Containers[0], options{map[string]string{row.env: row.value}, strings.Fields(row.nodes)})
		})
	}
}

// Two resources in one container are two Allocate calls whose answers kubelet merges, and the common node is there once.
func TestTwoResourcesInOneContainer(t *testing.T) {
	n := startNode(t, "gpus-64-of-16-vfio", noRules)
	n.hasAll(16, 4)
	p := n.pod(l40s, 2)
	const l4 = "nvidia.com/AD104GL_L4"
	c := &p.Spec.Containers[0]
	c.Resources.Limits[l4] = *quantity(1)
	if r := n.k.admit(p); !r.Admit {
		t.Fatalf("%s: %s", r.Reason, r.Message)
	}
	first, second := n.k.assigned(p, "main", l40s), n.k.assigned(p, "main", l4)
	want := options{envs: map[string]string{l40sEnv: strings.Join(first, ","), "PCI_RESOURCE_NVIDIA_COM_AD104GL_L4": strings.Join(second, ",")},
		nodes: []string{"/dev/vfio/vfio"}}
	for _, id := range slices.Concat(first, second) {
		want.nodes = append(want.nodes, nodes(t, id)...)
	}
	slices.Sort(want.nodes)
	n.wants(p, c, want)
}

// Kubelet replays the stored answer at every start of a container; PreStartContainer makes it true again.
func TestAContainerStartsAgainAfterItsDeviceWasTakenAway(t *testing.T) {
	n := startNode(t, "l40s-8", onAllocate)
	n.has(l40s, 8, 8)
	p, ids := n.admit(l40s, 2)
	for range 2 {
		n.answers(p, &p.Spec.Containers[0], l40sEnv, ids)
	}
	sim(t, "unplug", ids[0]) // and it comes back on the host's driver
	n.has(l40s, 8, 7)
	sim(t, "plug", ids[0])
	n.has(l40s, 8, 8)
	if driver(ids[0]) != "nvidia" {
		t.Fatalf("%s is on %q", ids[0], driver(ids[0]))
	}
	n.answers(p, &p.Spec.Containers[0], l40sEnv, ids)
	if driver(ids[0]) != "vfio-pci" {
		t.Errorf("%s is on %q", ids[0], driver(ids[0]))
	}
}
