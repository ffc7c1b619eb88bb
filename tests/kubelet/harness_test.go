// SPDX-License-Identifier: Apache-2.0

package kubelet

import "testing"

// What a plugin says in any field arrives where the tests look: an empty field elsewhere is one that sluiced left empty.
func TestTheHarnessSeesEveryField(t *testing.T) {
	const resource = "example.com/gpu"
	n := newNode(t, "", "")
	n.startKubelet()
	p := newGoPlugin(resource, devicePlugins+"/go.sock", 4)
	p.serve(t)
	if err := p.register(t); err != nil {
		t.Fatal(err)
	}
	n.has(resource, 4, 4)
	pod, ids := n.admit(resource, 1)
	o, err := runOptions(n.k.devices, pod, &pod.Spec.Containers[0])
	if err != nil {
		t.Fatal(err)
	}
	if len(o.Envs) != 1 || o.Envs[0].Value != ids[0] || len(o.Mounts) != 1 || !o.Mounts[0].ReadOnly || len(o.Devices) != 1 ||
		o.Devices[0].Permissions != "rw" || len(o.Annotations) == 0 || len(o.CDIDevices) != 1 || o.CDIDevices[0].Name != "vendor.com/gpu=0" {
		t.Errorf("run options %+v", *o)
	}
	if p.allocates.Load() != 1 || p.preStarts.Load() != 1 {
		t.Errorf("%d Allocate, %d PreStartContainer", p.allocates.Load(), p.preStarts.Load())
	}
}
