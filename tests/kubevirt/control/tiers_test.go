// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	v1 "kubevirt.io/api/core/v1"
	"kubevirt.io/api/instancetype/v1beta1"
	"sigs.k8s.io/yaml"

	"kubevirt.io/kubevirt/pkg/instancetype/apply"
	preferences "kubevirt.io/kubevirt/pkg/instancetype/preference/webhooks"
	instancetypes "kubevirt.io/kubevirt/pkg/instancetype/webhooks"
	"kubevirt.io/kubevirt/pkg/virt-operator/resource/generate/components"
)

// tiers are a directory's instance types and preferences, by name.
type tiers struct {
	types       map[string]*v1beta1.VirtualMachineInstancetypeSpec
	preferences map[string]*v1beta1.VirtualMachinePreferenceSpec
}

func tiersOf(t *testing.T, dir string) tiers {
	t.Helper()
	all := tiers{map[string]*v1beta1.VirtualMachineInstancetypeSpec{}, map[string]*v1beta1.VirtualMachinePreferenceSpec{}}
	for _, m := range manifests(t, dir) {
		switch m.kind {
		case "VirtualMachineClusterInstancetype":
			o := &v1beta1.VirtualMachineClusterInstancetype{}
			decode(t, m.text, o)
			all.types[o.Name] = &o.Spec
		case "VirtualMachineClusterPreference":
			o := &v1beta1.VirtualMachineClusterPreference{}
			decode(t, m.text, o)
			all.preferences[o.Name] = &o.Spec
		}
	}
	return all
}

// apply is what virt-controller does before it makes an instance of a VM.
func (all tiers) apply(t *testing.T, vm *v1.VirtualMachine, vmi *v1.VirtualMachineInstance) {
	t.Helper()
	var size *v1beta1.VirtualMachineInstancetypeSpec
	var preference *v1beta1.VirtualMachinePreferenceSpec
	if m := vm.Spec.Instancetype; m != nil {
		if size = all.types[m.Name]; size == nil {
			t.Fatalf("%s: there is no instance type %s", vm.Name, m.Name)
		}
	}
	if m := vm.Spec.Preference; m != nil {
		if preference = all.preferences[m.Name]; preference == nil {
			t.Fatalf("%s: there is no preference %s", vm.Name, m.Name)
		}
	}
	if conflicts := apply.NewVMIApplier().ApplyToVMI(field.NewPath("spec"), size, preference, &vmi.Spec, &vmi.ObjectMeta); len(conflicts) > 0 {
		t.Fatalf("%s: its instance type is in conflict with it: %v", vm.Name, conflicts)
	}
}

type admitter interface {
	Admit(context.Context, *admissionv1.AdmissionReview) *admissionv1.AdmissionResponse
}

// gates are the CRD of each kind and, where it needs nothing else to look at, its webhook. Strict decoding misses unknown keys
// below VirtualMachineInstanceSpec, which decodes itself; the CRD finds them.
var gates = map[string]struct {
	crd               func() (*apiextensionsv1.CustomResourceDefinition, error)
	version, resource string
	webhook           admitter
}{
	"VirtualMachineClusterInstancetype": {components.NewVirtualMachineClusterInstancetypeCrd, "v1beta1", "virtualmachineclusterinstancetypes", &instancetypes.ClusterInstancetypeAdmitter{}},
	"VirtualMachineClusterPreference":   {components.NewVirtualMachineClusterPreferenceCrd, "v1beta1", "virtualmachineclusterpreferences", &preferences.ClusterPreferenceAdmitter{}},
	"VirtualMachine":                    {components.NewVirtualMachineCrd, "v1", "virtualmachines", nil},
	"VirtualMachineInstance":            {components.NewVirtualMachineInstanceCrd, "v1", "virtualmachineinstances", nil},
}

func gatesSay(t *testing.T, m manifest) []string {
	t.Helper()
	gate := gates[m.kind]
	crd, err := gate.crd()
	if err != nil {
		t.Fatal(err)
	}
	says := schemaOf(t, crd, gate.version, m.text)
	if gate.webhook == nil {
		return says
	}
	raw, err := yaml.YAMLToJSON(m.text)
	if err != nil {
		t.Fatal(err)
	}
	r := gate.webhook.Admit(context.Background(), &admissionv1.AdmissionReview{Request: &admissionv1.AdmissionRequest{
		Operation: admissionv1.Create,
		Resource:  metav1.GroupVersionResource{Group: "instancetype.kubevirt.io", Version: gate.version, Resource: gate.resource},
		Object:    runtime.RawExtension{Raw: raw}}})
	if !r.Allowed {
		says = append(says, r.Result.Message)
	}
	return says
}

func TestEveryKindIsAsItsCRDSays(t *testing.T) {
	for _, dir := range dirs() {
		for _, m := range manifests(t, dir) {
			if _, ok := gates[m.kind]; !ok {
				continue
			}
			t.Run(filepath.Join(dir, m.name, m.kind), func(t *testing.T) {
				if says := gatesSay(t, m); len(says) != 0 {
					t.Errorf("%q", says)
				}
			})
		}
	}
}

// A tier adds its GPUs to a VM that has none, and to no other.
func TestATierAddsItsGPUs(t *testing.T) {
	var size v1beta1.VirtualMachineInstancetypeSpec
	if err := json.Unmarshal([]byte(`{"cpu":{"guest":4},"memory":{"guest":"8Gi"},"gpus":[{"name":"a","deviceName":"`+l40s+`"}]}`), &size); err != nil {
		t.Fatal(err)
	}
	vmi := &v1.VirtualMachineInstance{}
	conflicts := apply.NewVMIApplier().ApplyToVMI(field.NewPath("spec"), &size, nil, &vmi.Spec, &vmi.ObjectMeta)
	if len(conflicts) != 0 || len(vmi.Spec.Domain.Devices.GPUs) != 1 || vmi.Spec.Domain.Devices.GPUs[0].DeviceName != l40s {
		t.Errorf("%v, %v", conflicts, vmi.Spec.Domain.Devices.GPUs)
	}
	conflicts = apply.NewVMIApplier().ApplyToVMI(field.NewPath("spec"), &size, nil, &vmi.Spec, &vmi.ObjectMeta)
	if len(conflicts) == 0 || !strings.Contains(conflicts.String(), "gpus") {
		t.Errorf("a VM with GPUs of its own is no conflict: %v", conflicts)
	}
}

func TestWhatWrongTiersAndVMsDo(t *testing.T) {
	vm := "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {name: a}\nspec: {domain: {devices: {gpu: []}}}\n"
	if says := strings.Join(gatesSay(t, manifest{"", "VirtualMachineInstance", []byte(vm)}), "; "); !strings.Contains(says, "spec.domain.devices.gpu is unknown") {
		t.Errorf("of a VM's wrong key the CRD says %q", says)
	}
	head := "apiVersion: instancetype.kubevirt.io/v1beta1\nmetadata: {name: a}\n"
	for text, want := range map[string]string{
		"kind: VirtualMachineClusterInstancetype\nspec: {cpu: {guest: 1}, memory: {guest: 1Gi}, gpu: []}\n":                   "spec.gpu is unknown",
		"kind: VirtualMachineClusterInstancetype\nspec: {cpu: {guest: 1}, memory: {guest: 1Gi}, gpus: [{deviceName: a/b}]}\n": "gpus[0].name: Required value",
		"kind: VirtualMachineClusterInstancetype\nspec: {cpu: {guest: 1}, memory: {guest: 1Gi, overcommitPercent: 200}}\n":    "overcommitPercent",
		"kind: VirtualMachineClusterPreference\nspec: {devices: {preferredVirtualGPUOptions: {screen: true}}}\n":              "screen is unknown",
		"kind: VirtualMachineClusterPreference\nspec: {cpu: {preferredCPUTopology: flat}}\n":                                  "unknown preferredCPUTopology flat",
	} {
		kind := strings.Fields(text)[1]
		if says := strings.Join(gatesSay(t, manifest{"", kind, []byte(head + text)}), "; "); !strings.Contains(says, want) {
			t.Errorf("of %s they say %q, not %q", text, says, want)
		}
	}
}
