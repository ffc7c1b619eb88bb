// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	namespace = "sluice"
	plugins   = "/var/lib/kubelet/device-plugins"
)

// chart are the arguments with which this release is installed or upgraded: the chart's defaults, the image by its digest, and the
// values of the example for clusters without GPUs.
func chart(more ...string) []string {
	return append([]string{"sluice", filepath.Join(top, "charts/sluice"), "--namespace", namespace, "--values", filepath.Join(top, "deploy/examples/helm/captured-host.yaml"),
		"--set", "image.digest=" + os.Getenv("RIG_DIGEST"), "--wait", "--timeout", "8m"}, more...)
}

// release sees to it that the chart is installed with these values, and has all eight devices: one pod is there and ready, which is to say that
// kubelet has heard of them. The node's status alone may be that of the pod before.
func release(t *testing.T, more ...string) {
	t.Helper()
	if values := strings.Join(chart(more...), " "); values != applied {
		helm(t, append([]string{"upgrade", "--install", "--create-namespace"}, chart(more...)...)...)
		applied = values
		rolled(t, &corev1.Pod{})
	}
	allocatable(t, device, 8)
}

func nodeObject(t *testing.T) *corev1.Node {
	t.Helper()
	n, err := client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// allocatable waits until the node has so many.
func allocatable(t *testing.T, name string, want int64) {
	t.Helper()
	until(t, fmt.Sprintf("%d %s are allocatable", want, name), func() string {
		have := nodeObject(t).Status.Allocatable[corev1.ResourceName(name)]
		if have.Value() == want {
			return ""
		}
		return fmt.Sprintf("%d are", have.Value())
	})
}

// daemonPod is the one pod of the DaemonSet that is not on its way out.
func daemonPod(t *testing.T) *corev1.Pod {
	t.Helper()
	pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=sluiced"})
	if err != nil {
		t.Fatal(err)
	}
	var live []corev1.Pod
	for _, p := range pods.Items {
		if p.DeletionTimestamp == nil {
			live = append(live, p)
		}
	}
	if len(live) != 1 {
		t.Fatalf("%d pods of sluiced, not one", len(live))
	}
	return &live[0]
}

// sockets are those below kubelet's and Sluice's directories that are not kubelet's own.
func sockets(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, dir := range []string{plugins, "/var/lib/kubelet/plugins", "/var/lib/kubelet/plugins_registry", "/run/sluice", "/var/lib/sluice"} {
		_ = filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
			if err == nil && info.Mode()&os.ModeSocket != 0 && info.Name() != "kubelet.sock" {
				found = append(found, path)
			}
			return nil
		})
	}
	return found
}

// The chart's notes are what a user does next; the release is what they say.
func TestInstalledItOffersEightDevices(t *testing.T) {
	if _, err := try("helm", "uninstall", "sluice", "--namespace", namespace, "--wait", "--timeout", "8m"); err == nil { // another test's
		allocatable(t, device, 0)
	}
	applied = ""
	began := time.Now()
	notes := helm(t, append([]string{"install", "--create-namespace"}, chart()...)...)
	ready := time.Since(began).Seconds()
	allocatable(t, device, 8)
	figure("helm install to its pod ready: %.1f s, to eight allocatable: %.1f s", ready, time.Since(began).Seconds())
	kubectl(t, "label", "namespace", namespace, "pod-security.kubernetes.io/enforce=privileged")

	for _, command := range regexp.MustCompile(`(?m)^  kubectl (.*)$`).FindAllStringSubmatch(notes, -1) {
		if !strings.HasPrefix(command[1], "label ") {
			t.Logf("%s\n%s", command[1], kubectl(t, strings.Fields(command[1])...))
		}
	}
	inventory := kubectl(t, "-n", namespace, "exec", "daemonset/sluice", "--", "/usr/bin/sluicectl", "inventory")
	if n := strings.Count(inventory, device); n < 8 {
		t.Errorf("the inventory names %s %d times:\n%s", device, n, inventory)
	}
	pod := daemonPod(t)
	if s := pod.Status.ContainerStatuses[0]; pod.Spec.Containers[0].Image != "sluice@"+os.Getenv("RIG_DIGEST") || !strings.HasSuffix(s.ImageID, "@"+os.Getenv("RIG_DIGEST")) {
		t.Errorf("it runs %s, which is %s", pod.Spec.Containers[0].Image, s.ImageID)
	}
	if out := helm(t, "test", "sluice", "--namespace", namespace, "--timeout", "8m"); !strings.Contains(out, "Phase:          Succeeded") {
		t.Errorf("helm test says\n%s", out)
	}
}

// The rights that the chart's table gives to its default, as the kernel has them.
func TestItHasNoRightsThatItDoesNotNeed(t *testing.T) {
	release(t)
	pids := pidsOf("sluiced")
	if len(pids) != 1 {
		t.Fatalf("%d processes of sluiced", len(pids))
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pids[0]))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !strings.Contains(string(status), "\n"+line+"\n") {
			t.Errorf("no %q in\n%s", line, status)
		}
	}
	pod := daemonPod(t)
	for _, v := range pod.Spec.Volumes {
		if v.Projected != nil || v.Secret != nil {
			t.Errorf("volume %s may have a token", v.Name)
		}
	}
	if pod.Spec.HostNetwork || pod.Spec.HostPID || pod.Spec.HostIPC {
		t.Error("it is in a namespace of the host")
	}
}
