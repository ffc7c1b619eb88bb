// SPDX-License-Identifier: Apache-2.0

package control

import (
	"fmt"
	"strings"
	"testing"

	v1 "kubevirt.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

const (
	l40s   = "nvidia.com/AD102GL_L40S"
	crHead = "apiVersion: kubevirt.io/v1\nkind: KubeVirt\nmetadata: {name: kubevirt, namespace: kubevirt}\nspec:\n  configuration:\n"
	pciIn  = crHead + "    permittedHostDevices:\n      pciHostDevices:\n      - "
)

// What each of KubeVirt's gates says of a wrong CR; empty = it lets it pass. Where all do, whoever writes the CR must look
// himself: Sluice's generator of CRs does not exist yet, so what it must never write is a row that waits for it.
var wrongCRs = []struct {
	name, text              string
	strict, schema, webhook string
	waits                   string
}{
	{name: "a key that does not exist", text: pciIn + "{pciDeviceSelector: \"10DE:26B9\", resourceName: nvidia.com/X, externalResourceProvider: true}\n",
		strict: `unknown field "pciDeviceSelector"`, schema: "pciVendorSelector: Required value", webhook: "pciDeviceSelector in body is a forbidden property"},
	{name: "a text for a truth", text: pciIn + "{pciVendorSelector: \"10DE:26B9\", resourceName: nvidia.com/X, externalResourceProvider: \"true\"}\n",
		strict: "cannot unmarshal string", schema: `must be of type boolean: "string"`, webhook: "cannot unmarshal string"},
	{name: "a selector without quotes", text: pciIn + "{pciVendorSelector: 1002:7410, resourceName: amd.com/X, externalResourceProvider: true}\n"},
	{name: "values that mean nothing", text: pciIn + "{pciVendorSelector: hello, resourceName: \"no slash !!\", externalResourceProvider: true}\n",
		waits: "the generator checks names and selectors itself"},
	{name: "an entry that is not external", text: pciIn + "{pciVendorSelector: \"10DE:26B9\", resourceName: nvidia.com/X}\n",
		waits: "the generator makes every entry external"},
	{name: "mediated devices that KubeVirt would delete", text: crHead + "    mediatedDevicesConfiguration: {mediatedDeviceTypes: [nvidia-222]}\n",
		waits: "the generator switches KubeVirt's handling of mediated devices off, or lists every type"},
	{name: "a gate that does not exist", text: crHead + "    developerConfiguration: {featureGates: [Bogus]}\n",
		waits: "the generator names gates that exist"},
}

func TestWhatWrongCRsDo(t *testing.T) {
	for _, c := range wrongCRs {
		t.Run(c.name, func(t *testing.T) {
			says := func(who, have, want string) {
				if (have == "") != (want == "") || !strings.Contains(have, want) {
					t.Errorf("%s: %q, want %q", who, have, want)
				}
			}
			strict := ""
			if err := yaml.UnmarshalStrict([]byte(c.text), &v1.KubeVirt{}); err != nil {
				strict = err.Error()
			}
			says("strict decoding", strict, c.strict)
			says("the CRD", strings.Join(schemaSays(t, []byte(c.text)), "; "), c.schema)
			webhook := ""
			if r := operatorSays(t, []byte(c.text)); !r.Allowed {
				webhook = r.Result.Message
			}
			says("the webhook", webhook, c.webhook)
			if c.waits != "" && !t.Failed() {
				t.Skipf("WAITING: %s: KubeVirt accepts it; %s", c.name, c.waits)
			}
		})
	}
}

// What a VM that does not fit the CR comes to: the webhook's word, or virt-controller's, which makes no pod then.
func TestWhatWrongVMsDo(t *testing.T) {
	permitted, _ := read(t, "testdata")
	with := func(change func(c *v1.KubeVirtConfiguration)) *v1.KubeVirt {
		kv := permitted.DeepCopy()
		change(&kv.Spec.Configuration)
		return kv
	}
	gpu := func(name, resource string) v1.GPU { return v1.GPU{Name: name, DeviceName: resource} }
	shown := func(g v1.GPU) v1.GPU {
		g.VirtualGPUOptions = &v1.VGPUOptions{Display: &v1.VGPUDisplayOptions{}}
		return g
	}
	for _, c := range []struct {
		name         string
		kv           *v1.KubeVirt
		devices      v1.Devices
		webhook, pod string
	}{
		{"a name that is not permitted", permitted, v1.Devices{GPUs: []v1.GPU{gpu("g", "nvidia.com/OTHER")}}, "", "GPU nvidia.com/OTHER is not permitted in permittedHostDevices configuration"},
		{"a name in another case", permitted, v1.Devices{GPUs: []v1.GPU{gpu("g", strings.ToLower(l40s))}}, "", "is not permitted in permittedHostDevices configuration"},
		{"a host device that is not permitted", permitted, v1.Devices{HostDevices: []v1.HostDevice{{Name: "h", DeviceName: "nvidia.com/OTHER"}}}, "",
			"HostDevice nvidia.com/OTHER is not permitted in permittedHostDevices configuration"},
		{"nothing is permitted", with(func(c *v1.KubeVirtConfiguration) { c.PermittedHostDevices = &v1.PermittedHostDevices{} }),
			v1.Devices{GPUs: []v1.GPU{gpu("g", l40s)}}, "", "GPU nvidia.com/AD102GL_L40S is not permitted in permittedHostDevices configuration"},
		{"no list: everything is permitted", with(func(c *v1.KubeVirtConfiguration) { c.PermittedHostDevices = nil }),
			v1.Devices{GPUs: []v1.GPU{gpu("g", "nvidia.com/OTHER")}}, "", ""},
		{"host devices without the gate", with(func(c *v1.KubeVirtConfiguration) { c.DeveloperConfiguration = nil }),
			v1.Devices{HostDevices: []v1.HostDevice{{Name: "h", DeviceName: l40s}}}, "Host Devices feature gate is not enabled in kubevirt-config", ""},
		{"two displays", permitted, v1.Devices{GPUs: []v1.GPU{shown(gpu("a", l40s)), shown(gpu("b", l40s))}}, "configuring multiple displays with ramfb is not valid", ""},
		{"a Grace superchip without the gate", with(func(c *v1.KubeVirtConfiguration) {
			c.PermittedHostDevices.PciHostDevices[0].PCIVendorSelector = "10DE:2342"
		}), v1.Devices{GPUs: []v1.GPU{gpu("g", l40s)}}, "GraceIOVirtualization feature gate must be enabled for NVIDIA Grace GPU passthrough resource", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, vmis := read(t, "testdata")
			vmi := vmis[0]
			vmi.Spec.Domain.Devices = c.devices
			if have := apiSays(t, c.kv, vmi); (have == "") != (c.webhook == "") || !strings.Contains(have, c.webhook) {
				t.Errorf("the webhook: %q, want %q", have, c.webhook)
			}
			_, err := launcherPod(c.kv, vmi)
			if have := fmt.Sprint(err); c.webhook == "" && ((err == nil) != (c.pod == "") || err != nil && !strings.Contains(have, c.pod)) {
				t.Errorf("virt-controller: %v, want %q", err, c.pod)
			}
		})
	}
}
