// SPDX-License-Identifier: Apache-2.0

package control

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	k8sv1 "k8s.io/api/core/v1"
	v1 "kubevirt.io/api/core/v1"
)

// offered are the names under which Sluice offers the devices of the captured hosts.
func offered(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "fixtures", "offers.txt"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^  pool (\S+): `).FindAllStringSubmatch(string(text), -1) {
		names[m[1]] = true
	}
	if len(names) == 0 {
		t.Fatal("offers.txt has no pool")
	}
	return names
}

// read is a directory's CR, or that of testdata, and its VMs, with what their tiers add.
func read(t *testing.T, dir string) (*v1.KubeVirt, []*v1.VirtualMachineInstance) {
	t.Helper()
	var kv *v1.KubeVirt
	var vmis []*v1.VirtualMachineInstance
	sizes := tiersOf(t, dir)
	for _, m := range manifests(t, dir) {
		switch m.kind {
		case "KubeVirt":
			kv = &v1.KubeVirt{}
			decode(t, m.text, kv)
		case "VirtualMachineInstance":
			vmi := &v1.VirtualMachineInstance{}
			decode(t, m.text, vmi)
			vmis = append(vmis, vmi)
		case "VirtualMachine":
			vm := &v1.VirtualMachine{}
			decode(t, m.text, vm)
			vmi := &v1.VirtualMachineInstance{ObjectMeta: *vm.ObjectMeta.DeepCopy(), Spec: vm.Spec.Template.Spec}
			sizes.apply(t, vm, vmi)
			vmis = append(vmis, vmi)
		}
	}
	if kv == nil && dir != "testdata" {
		kv, _ = read(t, "testdata")
	}
	if kv == nil || len(vmis) == 0 {
		t.Fatalf("%s: no CR or no VM", dir)
	}
	for _, vmi := range vmis { // what kubectl and KubeVirt's mutating webhook set before anybody else looks
		if vmi.Namespace == "" {
			vmi.Namespace = "default"
		}
		vmi.APIVersion, vmi.Kind = "kubevirt.io/v1", "VirtualMachineInstance"
		vmi.Spec.Architecture = "amd64"
	}
	return kv, vmis
}

func TestTheCRIsAcceptedEverywhere(t *testing.T) {
	for _, dir := range dirs() {
		for _, m := range manifests(t, dir) {
			if m.kind != "KubeVirt" {
				continue
			}
			t.Run(filepath.Join(dir, m.name), func(t *testing.T) {
				if says := schemaSays(t, m.text); len(says) != 0 {
					t.Errorf("the CRD: %q", says)
				}
				r := operatorSays(t, m.text)
				if !r.Allowed {
					t.Errorf("the webhook: %v", r.Result)
				}
				if text := strings.Join(r.Warnings, ""); text != "" { // of a gate in good standing it says nothing, in a warning
					t.Errorf("the webhook warns: %q", text)
				}
			})
		}
	}
}

// KubeVirt's own plugins must leave alone what Sluice offers, and must not delete its mediated devices.
func TestTheCRLeavesTheDevicesToSluice(t *testing.T) {
	names := offered(t)
	for _, dir := range dirs() {
		kv, _ := read(t, dir)
		config := configOf(kv)
		permitted := config.GetPermittedHostDevices()
		if permitted == nil || len(permitted.PciHostDevices) == 0 {
			t.Fatalf("%s: nothing is permitted", dir)
		}
		check := func(resource string, external bool) {
			if !external {
				t.Errorf("%s: KubeVirt would offer %s itself", dir, resource)
			}
			if !names[resource] {
				t.Errorf("%s: no captured host has %s", dir, resource)
			}
		}
		for _, d := range permitted.PciHostDevices {
			check(d.ResourceName, d.ExternalResourceProvider)
		}
		for _, d := range permitted.MediatedDevices {
			check(d.ResourceName, d.ExternalResourceProvider)
		}
		if !config.MediatedDevicesHandlingDisabled() {
			t.Errorf("%s: KubeVirt would delete mediated devices that it does not know", dir)
		}
	}
}

// The launcher pod asks kubelet for as many of each resource as the VM has entries, in the container that runs the VM only.
func TestTheLauncherPodAsksForWhatTheVMNames(t *testing.T) {
	for _, dir := range dirs() {
		kv, vmis := read(t, dir)
		for _, vmi := range vmis {
			t.Run(filepath.Join(dir, vmi.Name), func(t *testing.T) {
				want := map[string]int64{}
				for _, d := range vmi.Spec.Domain.Devices.GPUs {
					want[d.DeviceName]++
				}
				for _, d := range vmi.Spec.Domain.Devices.HostDevices {
					want[d.DeviceName]++
				}
				if says := apiSays(t, kv, vmi); says != "" {
					t.Errorf("the webhook: %s", says)
				}
				pod, err := launcherPod(kv, vmi)
				if err != nil {
					t.Fatal(err)
				}
				if out := os.Getenv("LAUNCHER_PODS"); out != "" && dir != "testdata" { // tests/cluster runs them
					text, _ := json.Marshal(pod)
					if err := os.WriteFile(filepath.Join(out, vmi.Name+".json"), text, 0o644); err != nil {
						t.Error(err)
					}
				}
				for _, c := range append(pod.Spec.InitContainers, pod.Spec.Containers...) {
					expected := map[string]int64{}
					if c.Name == "compute" {
						expected = want
					}
					if have := extended(c.Resources.Requests); !maps.Equal(have, expected) {
						t.Errorf("%s requests %v, want %v", c.Name, have, expected)
					}
					if have := extended(c.Resources.Limits); !maps.Equal(have, expected) {
						t.Errorf("%s is limited to %v, want %v", c.Name, have, expected)
					}
				}
			})
		}
	}
}

// extended are the resources of device plugins other than KubeVirt's own.
func extended(list k8sv1.ResourceList) map[string]int64 {
	counts := map[string]int64{}
	for name, quantity := range list {
		if strings.Contains(string(name), "/") && !strings.HasPrefix(string(name), "devices.kubevirt.io/") {
			counts[string(name)] = quantity.Value()
		}
	}
	return counts
}
