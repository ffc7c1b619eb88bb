// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// started is how long a pod takes from its creation until a watch shows it running.
func started(t *testing.T, name string, devices int64) time.Duration {
	t.Helper()
	watch, err := client.CoreV1().Pods("default").Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	began := time.Now()
	if _, err := client.CoreV1().Pods("default").Create(ctx, podOf(name, devices), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	defer remove(t, "default", name)
	for end := time.After(patience); ; {
		select {
		case event := <-watch.ResultChan():
			if pod, ok := event.Object.(*corev1.Pod); ok && pod.Status.Phase == corev1.PodRunning {
				return time.Since(began)
			}
		case <-end:
			t.Fatalf("pod %s does not run", name)
		}
	}
}

// Figures for docs/benchmarks.md, and that a device does not make a pod's start another thing.
func TestADeviceCostsAPodsStartNextToNothing(t *testing.T) {
	release(t)
	const n = 15
	var with, without []time.Duration
	for i := range n {
		without = append(without, started(t, fmt.Sprintf("without%d", i), 0))
		with = append(with, started(t, fmt.Sprintf("with%d", i), 1))
	}
	slices.Sort(with)
	slices.Sort(without)
	figure("pod create to running, %d each: %d ms with a device, %d ms without (medians)", n, with[n/2].Milliseconds(), without[n/2].Milliseconds())
	if with[n/2] > without[n/2]+time.Second {
		t.Errorf("with a device %v, without %v", with[n/2], without[n/2])
	}
}

// The memory of all processes of the pod.
func TestThePodIsSmall(t *testing.T) {
	release(t)
	var total int
	for _, name := range []string{"sluiced", "sluice-hand", "sluice-hand:w"} {
		for _, pid := range pidsOf(name) {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			if err != nil {
				continue
			}
			_, rss, _ := strings.Cut(string(status), "VmRSS:")
			var kb int
			_, _ = fmt.Sscan(rss, &kb)
			figure("RSS in the pod: %s %.2f MB", name, float64(kb)/1000)
			total += kb
		}
	}
	limit := daemonPod(t).Spec.Containers[0].Resources.Limits.Memory().Value()
	if total == 0 || int64(total)*1024 > limit/2 {
		t.Errorf("%d kB of %d", total, limit/1024)
	}
}
