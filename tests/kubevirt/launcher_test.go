// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"maps"
	"slices"
	"testing"

	v1 "kubevirt.io/api/core/v1"

	"sluice.dev/sluice/tests/peer/rig"
)

const (
	l40s   = "nvidia.com/AD102GL_L40S"
	mi210  = "amd.com/ALDEBARAN_MI200_INSTINCT_MI210"
	flex   = "intel.com/ATSM_DATA_CENTER_GPU_FLEX_170"
	rtx    = "nvidia.com/AD102_GEFORCE_RTX_4090"
	a2     = "nvidia.com/NVIDIA_A2-4Q"
	l40s24 = "nvidia.com/NVIDIA_L40S-24Q"
	uuid1  = "6bd3d5f6-1d4c-4c0a-9a53-0a3a7f1e5b01"
	uuid2  = "c1f0a6de-52b7-4a7e-8f5d-3b9d6c2e7a02"
)

// An ask is one Allocate: what kubelet chose for one resource of the pod.
type ask struct {
	resource string
	healthy  int
	ids      []string
}

var launches = []struct {
	name   string
	host   string
	config string
	asks   []ask
	nodes  []string
	vm     vm
	want   []hostdev
}{
	{"a whole GPU, with its own device node", "l40s-8-vfio", rig.Head,
		[]ask{{l40s, 8, []string{"0000:18:00.0"}}},
		[]string{"/dev/vfio/vfio", "/dev/vfio/23", "/dev/vfio/devices/vfio0"},
		gpus(l40s), []hostdev{pci("gpu-gpu0", "0000:18:00.0")}},
	{"a GPU that Allocate binds, on a kernel without device nodes of VFIO", "l40s-8", bindAll,
		[]ask{{l40s, 8, []string{"0000:3b:00.0"}}},
		[]string{"/dev/vfio/vfio", "/dev/vfio/31"},
		gpus(l40s), []hostdev{pci("gpu-gpu0", "0000:3b:00.0")}},
	{"two GPUs, whatever order kubelet chose", "l40s-8-vfio", rig.Head,
		[]ask{{l40s, 8, []string{"0000:9a:00.0", "0000:18:00.0"}}},
		[]string{"/dev/vfio/vfio", "/dev/vfio/23", "/dev/vfio/35", "/dev/vfio/devices/vfio0", "/dev/vfio/devices/vfio4"},
		gpus(l40s, l40s), []hostdev{pci("gpu-gpu0", "0000:18:00.0"), pci("gpu-gpu1", "0000:9a:00.0")}},
	{"two PCI domains", "multi-domain", rig.Head,
		[]ask{{"nvidia.com/GB202GL_RTX_PRO_6000_BLACKWELL_SERVER_EDITION", 4, []string{"0001:04:00.0", "0000:8c:00.0"}}},
		[]string{"/dev/vfio/vfio", "/dev/vfio/23", "/dev/vfio/25", "/dev/vfio/devices/vfio1", "/dev/vfio/devices/vfio2"},
		gpus("nvidia.com/GB202GL_RTX_PRO_6000_BLACKWELL_SERVER_EDITION", "nvidia.com/GB202GL_RTX_PRO_6000_BLACKWELL_SERVER_EDITION"),
		[]hostdev{pci("gpu-gpu0", "0000:8c:00.0"), pci("gpu-gpu1", "0001:04:00.0")}},
	{"three resources in one VM, in the order of its manifest", "mixed-vendors", rig.Head,
		[]ask{{l40s, 1, []string{"0000:50:00.0"}}, {mi210, 1, []string{"0000:51:00.0"}}, {flex, 1, []string{"0000:52:00.0"}}},
		[]string{"/dev/vfio/vfio", "/dev/vfio/21", "/dev/vfio/23", "/dev/vfio/25"},
		gpus(flex, l40s, mi210), []hostdev{pci("gpu-gpu0", "0000:52:00.0"), pci("gpu-gpu1", "0000:50:00.0"), pci("gpu-gpu2", "0000:51:00.0")}},
	{"one resource as GPU, one as host device", "mixed-vendors", rig.Head,
		[]ask{{l40s, 1, []string{"0000:50:00.0"}}, {mi210, 1, []string{"0000:51:00.0"}}},
		[]string{"/dev/vfio/vfio", "/dev/vfio/21", "/dev/vfio/23"},
		vm{[]v1.GPU{{Name: "g", DeviceName: l40s}}, []v1.HostDevice{{Name: "h", DeviceName: mi210}}},
		[]hostdev{pci("gpu-g", "0000:50:00.0"), pci("hostdevice-h", "0000:51:00.0")}},
	{"names with hyphens and dots", "l40s-8-vfio",
		rig.Head + "rules:\n  - {select: {addresses: [\"0000:18:00.0\"]}, resource: gpu.example.com/L40S-48.v2_a}\n  - {resource: gpu-2.example.com/x}\n",
		[]ask{{"gpu.example.com/L40S-48.v2_a", 1, []string{"0000:18:00.0"}}, {"gpu-2.example.com/x", 7, []string{"0000:bb:00.0"}}},
		[]string{"/dev/vfio/vfio", "/dev/vfio/23", "/dev/vfio/43", "/dev/vfio/devices/vfio0", "/dev/vfio/devices/vfio7"},
		gpus("gpu.example.com/L40S-48.v2_a", "gpu-2.example.com/x"), []hostdev{pci("gpu-gpu0", "0000:18:00.0"), pci("gpu-gpu1", "0000:bb:00.0")}},
	{"a name from the id: lower case in it, upper case in the variable", "mi350x", rig.Head,
		[]ask{{"amd.com/75a0", 2, []string{"0000:95:00.0"}}},
		[]string{"/dev/vfio/vfio", "/dev/vfio/33", "/dev/vfio/devices/vfio1"},
		gpus("amd.com/75a0"), []hostdev{pci("gpu-gpu0", "0000:95:00.0")}},
	{"a name from the id beside names from the table", "stale-pciids", rig.Head,
		[]ask{{"nvidia.com/3fff", 1, []string{"0000:51:00.0"}}, {l40s, 1, []string{"0000:52:00.0"}}},
		[]string{"/dev/vfio/vfio", "/dev/vfio/23", "/dev/vfio/25"},
		gpus(l40s, "nvidia.com/3fff"), []hostdev{pci("gpu-gpu0", "0000:52:00.0"), pci("gpu-gpu1", "0000:51:00.0")}},
	{"a GPU whose audio function is in its group", "desktop-3090-second", bindAll,
		[]ask{{"nvidia.com/GA102_GEFORCE_RTX_3090", 1, []string{"0000:02:00.0"}}},
		[]string{"/dev/vfio/vfio", "/dev/vfio/13"},
		gpus("nvidia.com/GA102_GEFORCE_RTX_3090"), []hostdev{pci("gpu-gpu0", "0000:02:00.0")}},
	{"a GPU with audio, USB and UCSI in its group", "quadro-4fn", bindAll,
		[]ask{{"nvidia.com/TU102GL_QUADRO_RTX_6000_8000", 1, []string{"0000:61:00.0"}}},
		[]string{"/dev/vfio/vfio", "/dev/vfio/71"},
		gpus("nvidia.com/TU102GL_QUADRO_RTX_6000_8000"), []hostdev{pci("gpu-gpu0", "0000:61:00.0")}},
	{"two GPUs in one group are one device", "two-gpus-one-group", bindAll,
		[]ask{{l40s, 2, []string{"0000:05:00.0", "0000:03:00.0"}}},
		[]string{"/dev/vfio/vfio", "/dev/vfio/20", "/dev/vfio/22"},
		gpus(l40s, l40s), []hostdev{pci("gpu-gpu0", "0000:03:00.0"), pci("gpu-gpu1", "0000:05:00.0")}},
	{"a mediated vGPU has the display", "mdev-a2", rig.Head,
		[]ask{{a2, 2, []string{uuid2}}},
		[]string{"/dev/vfio/vfio", "/dev/vfio/121"},
		gpus(a2), []hostdev{mdev("gpu-gpu0", uuid2).shown("on", "on")}},
	{"the first of two mediated vGPUs has the display", "mdev-a2", rig.Head,
		[]ask{{a2, 2, []string{uuid2, uuid1}}},
		[]string{"/dev/vfio/vfio", "/dev/vfio/120", "/dev/vfio/121"},
		gpus(a2, a2), []hostdev{mdev("gpu-gpu0", uuid1).shown("on", "on"), mdev("gpu-gpu1", uuid2)}},
	{"a mediated vGPU without a display", "mdev-a2", rig.Head,
		[]ask{{a2, 2, []string{uuid1}}},
		[]string{"/dev/vfio/vfio", "/dev/vfio/120"},
		gpus(a2).display(false, nil), []hostdev{mdev("gpu-gpu0", uuid1)}},
	{"a mediated vGPU as host device never has one", "mdev-a2", rig.Head,
		[]ask{{a2, 2, []string{uuid1}}},
		[]string{"/dev/vfio/vfio", "/dev/vfio/120"},
		vm{host: []v1.HostDevice{{Name: "h", DeviceName: a2}}}, []hostdev{mdev("hostdevice-h", uuid1)}},
	{"a vendor-VFIO vGPU is a PCI device", "vgpu-l40s", rig.Head,
		[]ask{{l40s24, 2, []string{"0000:26:00.4"}}},
		[]string{"/dev/vfio/vfio", "/dev/vfio/160", "/dev/vfio/devices/vfio0"},
		gpus(l40s24), []hostdev{pci("gpu-gpu0", "0000:26:00.4")}},
	{"a vendor-VFIO vGPU shows what it is told to", "vgpu-l40s", rig.Head,
		[]ask{{l40s24, 2, []string{"0000:26:00.5"}}},
		[]string{"/dev/vfio/vfio", "/dev/vfio/161", "/dev/vfio/devices/vfio1"},
		gpus(l40s24).display(true, new(true)), []hostdev{pci("gpu-gpu0", "0000:26:00.5").shown("on", "on")}},
}

func TestAnswersBecomeTheRightDomain(t *testing.T) {
	for _, c := range launches {
		t.Run(c.name, func(t *testing.T) {
			r := rig.Start(t, capture(c.host), c.config, true)
			env, nodes := map[string]string{}, map[string]bool{}
			for _, a := range c.asks {
				g := allocate(t, r, r.Ready(a.resource, a.healthy), a.ids...)
				wantFaultless(t, g)
				maps.Copy(env, g.env)
				for _, d := range g.nodes {
					nodes[d.HostPath] = true
				}
			}
			if have := slices.Sorted(maps.Keys(nodes)); !slices.Equal(have, slices.Sorted(slices.Values(c.nodes))) {
				t.Errorf("nodes %v, want %v", have, c.nodes)
			}
			wantDomain(t, env, c.vm, c.want...)
		})
	}
}
