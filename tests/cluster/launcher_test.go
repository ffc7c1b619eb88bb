// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// launcher is the pod that KubeVirt's own controller makes of a VMI of deploy/examples (tests/kubevirt/control wrote it). It asks for no
// memory: there is no guest in it.
func launcher(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	dir := os.Getenv("RIG_LAUNCHERS")
	if dir == "" {
		t.Skip("KubeVirt's modules are not in the cache and cannot be fetched")
	}
	text, err := os.ReadFile(filepath.Join(dir, name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{}
	if err := json.Unmarshal(text, pod); err != nil {
		t.Fatal(err)
	}
	pod.Name, pod.GenerateName, pod.OwnerReferences = name, "", nil
	pod.Spec.TerminationGracePeriodSeconds = new(int64)
	var all []*corev1.ResourceRequirements
	for i := range pod.Spec.InitContainers {
		all = append(all, &pod.Spec.InitContainers[i].Resources)
	}
	for i := range pod.Spec.Containers {
		all = append(all, &pod.Spec.Containers[i].Resources)
	}
	for _, r := range all {
		for _, list := range []corev1.ResourceList{r.Limits, r.Requests} {
			if _, given := list[corev1.ResourceMemory]; given {
				list[corev1.ResourceMemory] = resource.MustParse("64Mi")
			}
			delete(list, corev1.ResourceCPU)
			delete(list, corev1.ResourceEphemeralStorage)
		}
	}
	return pod
}

// kubevirt gives the node what virt-handler would: the resources of its own plugins, and the labels that the pod asks for.
func kubevirt(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	for key, value := range pod.Spec.NodeSelector {
		kubectl(t, "label", "node", node, key+"="+value, "--overwrite")
	}
	for _, c := range pod.Spec.Containers {
		for name := range c.Resources.Limits {
			if strings.HasPrefix(string(name), "devices.kubevirt.io/") {
				kubectl(t, "patch", "node", node, "--subresource=status", "--type=merge", "--patch", `{"status":{"capacity":{"`+string(name)+`":"100"}}}`)
				allocatable(t, string(name), 100)
			}
		}
	}
}

// In the place of the launcher runs a shell that says what it was given: the variable has one address for each GPU of the VMI, and there is
// one node of a group and one of a device for each, beside /dev/vfio/vfio.
func TestALauncherPodHasItsDevices(t *testing.T) {
	release(t)
	for name, devices := range map[string]int{"one-gpu": 1, "two-gpus": 2} {
		t.Run(name, func(t *testing.T) {
			pod := launcher(t, name)
			kubevirt(t, pod)
			create(t, "default", pod)
			runs(t, "default", name)
			var given []string
			for _, line := range strings.Split(inside(t, name, "env"), "\n") {
				if strings.HasPrefix(line, "PCI_RESOURCE_") || strings.HasPrefix(line, "MDEV_PCI_RESOURCE_") {
					given = append(given, line)
				}
			}
			if len(given) != 1 || !regexp.MustCompile(`^`+variable+`=0000:..:00\.0(,0000:..:00\.0)*$`).MatchString(given[0]) || strings.Count(given[0], ",") != devices-1 {
				t.Errorf("the launcher has %q", given)
			}
			nodes := inside(t, name, "sh", "-c", "cd /dev/vfio && echo * devices/*")
			if want := fmt.Sprintf(`^([0-9]+ ){%d}devices vfio( devices/vfio[0-9]+){%d}$`, devices, devices); !regexp.MustCompile(want).MatchString(nodes) {
				t.Errorf("the launcher has %s below /dev/vfio", nodes)
			}
			for _, c := range pod.Spec.InitContainers {
				if c.RestartPolicy == nil { // it has ended
					continue
				}
				if out := kubectl(t, "exec", name, "-c", c.Name, "--", "env"); strings.Contains(out, "PCI_RESOURCE_") {
					t.Errorf("container %s has\n%s", c.Name, out)
				}
			}
		})
	}
}
