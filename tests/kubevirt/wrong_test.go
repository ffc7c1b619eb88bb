// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "kubevirt.io/api/core/v1"

	dp "sluice.dev/sluice/tests/peer/api/deviceplugin"
)

const (
	x     = "nvidia.com/X"
	y     = "nvidia.com/Y"
	xPCI  = "PCI_RESOURCE_NVIDIA_COM_X"
	xMdev = "MDEV_PCI_RESOURCE_NVIDIA_COM_X"
	first = "0000:65:00.0"
	audio = "0000:65:00.1"
	other = "0000:b1:00.0"

	count = "the number of device plugin GPU/s do not match the number of devices"
	parse = "failed to parse pci address"
)

type environment = map[string]string

// What KubeVirt and libvirt do with wrong input: most of it is silent, or found out only when the VM starts. The faults are
// those that the input has as an answer for ids; a row without faults is made by whoever writes the VM, not by an answer.
var wrong = []struct {
	name    string
	ids     []string
	env     environment
	vm      vm
	faults  []string
	err     string    // KubeVirt's refusal
	libvirt string    // libvirt's refusal
	want    []hostdev // what KubeVirt makes of it without a word
}{
	{name: "no variable", ids: []string{first}, vm: gpus(x), err: count, faults: []string{"no variable of this resource"}},
	{name: "an empty variable", ids: []string{first}, env: environment{xPCI: ""}, vm: gpus(x), err: count, faults: []string{"fewer addresses than devices"}},
	{name: "a lone comma", ids: []string{first}, env: environment{xPCI: ","}, vm: gpus(x), err: count, faults: []string{"fewer addresses than devices"}},
	{name: "too few addresses", ids: []string{first, other}, env: environment{xPCI: first}, vm: gpus(x, x), err: count, faults: []string{"fewer addresses than devices"}},
	{name: "an address twice", ids: []string{first, other}, env: environment{xPCI: first + "," + first}, vm: gpus(x, x), err: count, faults: []string{"an address twice"}},
	{name: "a lower-case name", ids: []string{first}, env: environment{"PCI_RESOURCE_NVIDIA_COM_26b5": first}, vm: gpus("nvidia.com/26b5"), err: count,
		faults: []string{"no variable of this resource", "another variable"}},
	{name: "a hyphen made an underscore", ids: []string{first}, env: environment{"PCI_RESOURCE_NVIDIA_COM_L40S_24Q": first}, vm: gpus("nvidia.com/L40S-24Q"), err: count,
		faults: []string{"no variable of this resource", "another variable"}},
	{name: "both prefixes", ids: []string{first}, env: environment{xPCI: first, xMdev: uuid1}, vm: gpus(x), err: count,
		faults: []string{"both prefixes", "more addresses than devices", "a device that was not asked for"}},
	{name: "both prefixes for one, none for the other: the count is right", ids: []string{first}, env: environment{xPCI: first, xMdev: uuid1}, vm: gpus(x, y),
		faults: []string{"both prefixes"}, libvirt: "non unique alias detected: ua-gpu-gpu0",
		want: []hostdev{pci("gpu-gpu0", first), mdev("gpu-gpu0", uuid1).shown("on", "on")}},
	{name: "a surplus address", ids: []string{first}, env: environment{xPCI: first + "," + audio}, vm: gpus(x),
		faults: []string{"more addresses than devices", "a device that was not asked for"}, want: []hostdev{pci("gpu-gpu0", first)}},
	{name: "the audio function between two GPUs becomes the second GPU", ids: []string{first, other}, env: environment{xPCI: first + "," + audio + "," + other}, vm: gpus(x, x),
		faults: []string{"more addresses than devices", "a device that was not asked for"}, want: []hostdev{pci("gpu-gpu0", first), pci("gpu-gpu1", audio)}},
	{name: "addresses in another order", ids: []string{first, other}, env: environment{xPCI: other + "," + first}, vm: gpus(x, x),
		faults: []string{"not in the order of addresses"}, want: []hostdev{pci("gpu-gpu0", other), pci("gpu-gpu1", first)}},
	{name: "a domain of five digits", ids: []string{"10000:65:00.0"}, env: environment{xPCI: "10000:65:00.0"}, vm: gpus(x), err: parse,
		faults: []string{"a PCI address that KubeVirt cannot parse", "another spelling than the kernel's"}},
	{name: "no domain", ids: []string{first}, env: environment{xPCI: "65:00.0"}, vm: gpus(x), err: parse, faults: []string{"a PCI address that KubeVirt cannot parse"}},
	{name: "a blank after the comma", ids: []string{first, other}, env: environment{xPCI: first + ", " + other}, vm: gpus(x, x), err: parse,
		faults: []string{"a PCI address that KubeVirt cannot parse"}},
	{name: "a UUID in the variable of PCI devices", ids: []string{uuid1}, env: environment{xPCI: uuid1}, vm: gpus(x), err: parse,
		faults: []string{"a PCI address that KubeVirt cannot parse"}},
	{name: "slot 0x20", ids: []string{"0000:65:20.0"}, env: environment{xPCI: "0000:65:20.0"}, vm: gpus(x), libvirt: "Invalid PCI address slot='0x20', must be <= 0x1F",
		faults: []string{"a slot above 0x1f"}, want: []hostdev{pci("gpu-gpu0", "0000:65:20.0")}},
	{name: "an address in the variable of mediated devices", ids: []string{first}, env: environment{xMdev: first}, vm: gpus(x), libvirt: "Cannot parse uuid attribute",
		faults: []string{"no UUID in the variable of mediated devices"}, want: []hostdev{mdev("gpu-gpu0", first).shown("on", "on")}},
	{name: "upper-case digits are accepted", ids: []string{other}, env: environment{xPCI: strings.ToUpper(other)}, vm: gpus(x),
		faults: []string{"another spelling than the kernel's", "a device that was not asked for"}, want: []hostdev{pci("gpu-gpu0", strings.ToUpper(other))}},
	{name: "one resource as GPU and as host device", ids: []string{first}, env: environment{xPCI: first},
		vm:      vm{[]v1.GPU{{Name: "g", DeviceName: x}}, []v1.HostDevice{{Name: "h", DeviceName: x}}},
		libvirt: "Hostdev already exists in the domain configuration", want: []hostdev{pci("gpu-g", first), pci("hostdevice-h", first)}},
	{name: "two GPUs of one name", ids: []string{first, other}, env: environment{xPCI: first + "," + other},
		vm:      vm{gpus: []v1.GPU{{Name: "g", DeviceName: x}, {Name: "g", DeviceName: x}}},
		libvirt: "non unique alias detected: ua-gpu-g", want: []hostdev{pci("gpu-g", first), pci("gpu-g", other)}},
}

func TestWhatWrongInputDoes(t *testing.T) {
	for _, c := range wrong {
		t.Run(c.name, func(t *testing.T) {
			answer := given{resource: append(c.vm.gpus, v1.GPU{DeviceName: x})[0].DeviceName, ids: c.ids, env: c.env}
			for _, name := range c.faults {
				if faults[name](answer) == "" {
					t.Errorf("the fault is not seen: %s", name)
				}
			}
			devices, err := launch(c.env, c.vm)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("KubeVirt: %v, want %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			written, _, err := define(t, devices)
			if !slices.Equal(written, c.want) {
				t.Errorf("KubeVirt wrote\n%s, want\n%s", lines(written), lines(c.want))
			}
			if (err != nil) != (c.libvirt != "") || (err != nil && !strings.Contains(err.Error(), c.libvirt)) {
				t.Errorf("libvirt: %v, want %q", err, c.libvirt)
			}
		})
	}
}

// KubeVirt's launcher does not look at nodes; the runtime and virt-handler do.
var wrongNodes = []struct {
	name  string
	fault string
	nodes []*dp.DeviceSpec
}{
	{"VFIO's own node is missing: virt-handler gives QEMU none of the others", "not exactly the nodes of its devices", specs("/dev/vfio/45", "/dev/vfio/devices/vfio0")},
	{"the group's node is missing", "not exactly the nodes of its devices", specs("/dev/vfio/vfio", "/dev/vfio/devices/vfio0")},
	{"a node that does not exist: the container cannot start", "not exactly the nodes of its devices", specs("/dev/vfio/vfio", "/dev/vfio/45", "/dev/vfio/devices/vfio0", "/dev/vfio/devices/vfio1")},
	{"the group of somebody else", "not exactly the nodes of its devices", specs("/dev/vfio/vfio", "/dev/vfio/45", "/dev/vfio/46", "/dev/vfio/devices/vfio0")},
	{"a node twice", "not exactly the nodes of its devices", specs("/dev/vfio/vfio", "/dev/vfio/45", "/dev/vfio/45", "/dev/vfio/devices/vfio0")},
	{"another path", "a node under another path, or not mrw", []*dp.DeviceSpec{{HostPath: "/dev/vfio/45", ContainerPath: "/dev/vfio/0", Permissions: "mrw"}}},
	{"another permission", "a node under another path, or not mrw", []*dp.DeviceSpec{{HostPath: "/dev/vfio/45", ContainerPath: "/dev/vfio/45", Permissions: "rw"}}},
}

func specs(paths ...string) []*dp.DeviceSpec {
	var all []*dp.DeviceSpec
	for _, p := range paths {
		all = append(all, &dp.DeviceSpec{HostPath: p, ContainerPath: p, Permissions: "mrw"})
	}
	return all
}

func TestWrongNodesAreSeen(t *testing.T) {
	host := t.TempDir()
	device := filepath.Join(host, "sys/bus/pci/devices", first)
	for _, dir := range []string{filepath.Join(device, "vfio-dev/vfio0"), filepath.Join(host, "dev/vfio/devices")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../../../../kernel/iommu_groups/45", filepath.Join(device, "iommu_group")); err != nil {
		t.Fatal(err)
	}
	for _, node := range []string{"vfio", "45", "46", "devices/vfio0"} {
		if err := os.WriteFile(filepath.Join(host, "dev/vfio", node), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	right := given{x, []string{first}, environment{xPCI: first}, specs("/dev/vfio/vfio", "/dev/vfio/45", "/dev/vfio/devices/vfio0"), host}
	wantFaultless(t, right)
	for _, c := range wrongNodes {
		right.nodes = c.nodes
		if faults[c.fault](right) == "" {
			t.Errorf("not seen: %s", c.name)
		}
	}
}

// A fault that no row shows might never be seen.
func TestEveryFaultIsShown(t *testing.T) {
	var shown []string
	for _, c := range wrong {
		shown = append(shown, c.faults...)
	}
	for _, c := range wrongNodes {
		shown = append(shown, c.fault)
	}
	for name := range faults {
		if !slices.Contains(shown, name) {
			t.Error(name)
		}
	}
}
