// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"regexp"
	"sort"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const variable = "PCI_RESOURCE_NVIDIA_COM_AD102GL_L40S"

// podOf is a pod that asks for so many devices and sleeps.
func podOf(name string, devices int64) *corev1.Pod {
	limits := corev1.ResourceList{}
	if devices > 0 {
		limits[device] = *resource.NewQuantity(devices, resource.DecimalSI)
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: new(int64),
			AutomountServiceAccountToken:  new(bool),
			Containers: []corev1.Container{{
				Name: "c", Image: "rig.local/tools:1", ImagePullPolicy: corev1.PullNever, Command: []string{"/bin/sh", "-c", "exec sleep 100000"},
				Resources: corev1.ResourceRequirements{Limits: limits},
			}},
		},
	}
}

// create makes a pod that goes with its test.
func create(t *testing.T, in string, pod *corev1.Pod) {
	t.Helper()
	if _, err := client.CoreV1().Pods(in).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, in, pod.Name) })
}

// remove ends a pod and waits until it is gone.
func remove(t *testing.T, in, name string) {
	t.Helper()
	_ = client.CoreV1().Pods(in).Delete(ctx, name, metav1.DeleteOptions{})
	until(t, "pod "+name+" is gone", func() string {
		if p, err := client.CoreV1().Pods(in).Get(ctx, name, metav1.GetOptions{}); err == nil {
			return "it is " + string(p.Status.Phase)
		}
		return ""
	})
}

func get(t *testing.T, in, name string) *corev1.Pod {
	t.Helper()
	pod, err := client.CoreV1().Pods(in).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

// state is what `kubectl get pods` would show, with the words beside it.
func state(p *corev1.Pod) string {
	s := fmt.Sprintf("%s %s %s", p.Status.Phase, p.Status.Reason, p.Status.Message)
	for _, c := range p.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			s += fmt.Sprintf("; %s: %s %s", c.Type, c.Reason, c.Message)
		}
	}
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Waiting != nil {
			s += fmt.Sprintf("; %s waits: %s %s", c.Name, c.State.Waiting.Reason, c.State.Waiting.Message)
		}
	}
	return s
}

// runs waits until the pod's containers run.
func runs(t *testing.T, in, name string) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	until(t, "pod "+name+" runs", func() string {
		pod = get(t, in, name)
		if pod.Status.Phase == corev1.PodFailed {
			t.Fatalf("pod %s: %s", name, state(pod))
		}
		for _, c := range pod.Status.ContainerStatuses {
			if !c.Ready {
				return state(pod)
			}
		}
		if pod.Status.Phase != corev1.PodRunning {
			return state(pod)
		}
		return ""
	})
	return pod
}

// inside runs a command in a pod.
func inside(t *testing.T, name string, command ...string) string {
	t.Helper()
	return kubectl(t, append([]string{"exec", name, "--"}, command...)...)
}

// address is the device that a pod has; it must be one, and of this host.
func address(t *testing.T, name string) string {
	t.Helper()
	value := inside(t, name, "sh", "-c", "echo $"+variable)
	if !regexp.MustCompile(`^0000:[0-9a-f]{2}:00\.0$`).MatchString(value) {
		t.Errorf("pod %s has %s=%q", name, variable, value)
	}
	return value
}

// added are the lines of b that a does not have, and with a minus those of a that b does not have.
func added(a, b string) []string {
	count := map[string]int{}
	for _, line := range strings.Split(b, "\n") {
		count[line]++
	}
	for _, line := range strings.Split(a, "\n") {
		count[line]--
	}
	var diff []string
	for line, n := range count {
		if n > 0 {
			diff = append(diff, line)
		} else if n < 0 {
			diff = append(diff, "-"+line)
		}
	}
	sort.Strings(diff)
	return diff
}

// Beside a pod that asks for nothing, one with a device has its variable and its nodes more, and nothing else.
func TestAPodHasItsDeviceAndNothingElse(t *testing.T) {
	release(t)
	create(t, "default", podOf("plain", 0))
	create(t, "default", podOf("one", 1))
	runs(t, "default", "plain")
	runs(t, "default", "one")
	env := "env | grep -v ^HOSTNAME= | sort"
	dev := "find /dev -type c -o -type b -o -type l -o -type d | sort"
	bdf := address(t, "one")
	if diff := added(inside(t, "plain", "sh", "-c", env), inside(t, "one", "sh", "-c", env)); len(diff) != 1 || diff[0] != variable+"="+bdf {
		t.Errorf("the device brings these variables: %q", diff)
	}
	diff := added(inside(t, "plain", "sh", "-c", dev), inside(t, "one", "sh", "-c", dev))
	if !regexp.MustCompile(`^/dev/vfio /dev/vfio/[0-9]+ /dev/vfio/devices /dev/vfio/devices/vfio[0-9]+ /dev/vfio/vfio$`).MatchString(strings.Join(diff, " ")) {
		t.Errorf("the device brings these nodes: %q", diff)
	}
	// What the values have in the place of each node.
	if got := inside(t, "one", "stat", "-c", "%t:%T", "/dev/vfio/vfio"); got != "1:3" {
		t.Errorf("/dev/vfio/vfio is %s", got)
	}
}

// Kubelet's podresources tells whose a device is.
func TestAClaimNamesItsPod(t *testing.T) {
	release(t)
	create(t, "default", podOf("owner", 1))
	runs(t, "default", "owner")
	bdf := address(t, "owner")
	until(t, "the claim has a pod", func() string {
		claims := kubectl(t, "-n", namespace, "exec", "daemonset/sluice", "--", "/usr/bin/sluicectl", "claims")
		if !regexp.MustCompile(`(?m)^` + bdf + ` +default/owner/c +seen `).MatchString(claims) {
			return claims
		}
		return ""
	})
}

func TestTheNinthOfEightWaits(t *testing.T) {
	release(t)
	seen := map[string]string{}
	for i := range 8 {
		create(t, "default", podOf(fmt.Sprintf("p%d", i), 1))
	}
	for i := range 8 {
		name := fmt.Sprintf("p%d", i)
		runs(t, "default", name)
		bdf := address(t, name)
		if other, twice := seen[bdf]; twice {
			t.Errorf("%s and %s both have %s", other, name, bdf)
		}
		seen[bdf] = name
	}
	create(t, "default", podOf("ninth", 1))
	until(t, "the ninth waits and says why", func() string {
		pod := get(t, "default", "ninth")
		if s := state(pod); pod.Status.Phase != corev1.PodPending || !strings.Contains(s, "0/1 nodes are available: 1 Insufficient "+device) {
			return s
		}
		return ""
	})
	until(t, "an event says it, too", func() string {
		if out := kubectl(t, "describe", "pod", "ninth"); !strings.Contains(out, "FailedScheduling") || !strings.Contains(out, "Insufficient "+device) {
			return out
		}
		return ""
	})
	free := address(t, "p3")
	remove(t, "default", "p3")
	runs(t, "default", "ninth")
	if bdf := address(t, "ninth"); bdf != free {
		t.Errorf("the ninth has %s, but %s was free", bdf, free)
	}
}

// The quota and the limits of deploy/examples/quota.yaml.
func TestATenantWhoHasHadEnoughIsRefused(t *testing.T) {
	release(t)
	const tenant = "tenant-a"
	kubectl(t, "create", "namespace", tenant)
	t.Cleanup(func() { kubectl(t, "delete", "namespace", tenant) })
	kubectl(t, "apply", "-f", top+"/deploy/examples/quota.yaml")
	until(t, "the quota is counted", func() string {
		if q, err := client.CoreV1().ResourceQuotas(tenant).Get(ctx, "gpus", metav1.GetOptions{}); err != nil || len(q.Status.Hard) == 0 {
			return fmt.Sprint(err, q.Status)
		}
		return ""
	})
	refused := func(pod *corev1.Pod, why string) {
		t.Helper()
		if _, err := client.CoreV1().Pods(tenant).Create(ctx, pod, metav1.CreateOptions{}); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("pod %s: %v, not %q", pod.Name, err, why)
		}
	}
	refused(podOf("three", 3), "maximum "+device+" usage per Container is 2")
	for _, name := range []string{"a", "b"} {
		create(t, tenant, podOf(name, 2))
		runs(t, tenant, name)
	}
	refused(podOf("fifth", 1), "exceeded quota: gpus, requested: requests."+device+"=1, used: requests."+device+"=4, limited: requests."+device+"=4")
	create(t, tenant, podOf("none", 0))
	runs(t, tenant, "none")
}
