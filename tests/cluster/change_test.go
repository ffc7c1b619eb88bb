// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"os"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// rule is a configuration with the implicit rule's devices but for one of them.
func without(address string) []string {
	return []string{"--set", "config.inline.rules[0].select.addresses={" + address + "}", "--set", "config.inline.rules[0].deny=true",
		"--set", "config.inline.rules[1].select.ids={10de:26b9}"}
}

// free is a device that no pod has.
func free(t *testing.T, pods ...string) string {
	t.Helper()
	taken := ""
	for _, name := range pods {
		taken += inside(t, name, "sh", "-c", "echo $"+variable) + ","
	}
	for _, bdf := range []string{"0000:bb:00.0", "0000:ba:00.0", "0000:9b:00.0", "0000:9a:00.0"} {
		if !strings.Contains(taken, bdf) {
			return bdf
		}
	}
	t.Fatal("the pods have them all: " + taken)
	return ""
}

// A changed configuration is noticed by the daemon that runs.
func TestAnUpgradeOfTheConfigurationLosesNothing(t *testing.T) {
	unhurt(t, func() {
		before := daemonPod(t)
		helm(t, append([]string{"upgrade"}, chart(without(free(t, "a", "b"))...)...)...)
		allocatable(t, device, 7)
		helm(t, append([]string{"upgrade"}, chart()...)...)
		allocatable(t, device, 8)
		if after := daemonPod(t); after.UID != before.UID || after.Status.ContainerStatuses[0].RestartCount != before.Status.ContainerStatuses[0].RestartCount {
			t.Errorf("the daemon's pod was %s and is %s", before.Name, after.Name)
		}
	})
}

// A configuration with a fault in it (the chart's schema would not let it pass: somebody has edited the ConfigMap) leaves the former one in force, and the release can be mended.
func TestAWrongConfigurationIsNotTaken(t *testing.T) {
	unhurt(t, func() {
		kubectl(t, "-n", namespace, "patch", "configmap", "sluice", "--type=merge", "--patch", `{"data":{"config.yaml":"apiVersion: sluice.dev/v1alpha1\nkind: NodeConfig\nrules: [{bnid: never}]\n"}}`)
		until(t, "the log says so", func() string {
			if log := kubectl(t, "-n", namespace, "logs", "daemonset/sluice"); !strings.Contains(log, "bnid") {
				return log
			}
			return ""
		})
		allocatable(t, device, 8)
		helm(t, append([]string{"upgrade"}, chart()...)...)
	})
}

// rolled waits until the only pod of the daemon is another one than before, and ready.
func rolled(t *testing.T, before *corev1.Pod) {
	t.Helper()
	until(t, "another pod is ready", func() string {
		pods, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=sluiced"})
		if err != nil || len(pods.Items) != 1 {
			return fmt.Sprint(err, " ", len(pods.Items), " pods")
		}
		if p := pods.Items[0]; p.UID == before.UID || len(p.Status.ContainerStatuses) == 0 || !p.Status.ContainerStatuses[0].Ready {
			return state(&p)
		}
		return ""
	})
}

// The pods of the daemon are made anew, with another configuration.
func TestAnUpgradeThatRollsLosesNothing(t *testing.T) {
	unhurt(t, func() {
		before := daemonPod(t)
		helm(t, append([]string{"upgrade"}, chart(append(without(free(t, "a", "b")), "--set", "config.onChange=roll")...)...)...)
		rolled(t, before)
		allocatable(t, device, 7)
		helm(t, "rollback", "sluice", "--namespace", namespace, "--wait", "--timeout", "8m")
	})
}

func TestAnUpgradeOfTheVersionLosesNothing(t *testing.T) {
	unhurt(t, func() {
		before := daemonPod(t)
		helm(t, append([]string{"upgrade"}, chart("--set", "image.digest=", "--set", "image.tag=next")...)...)
		rolled(t, before)
		if image := daemonPod(t).Spec.Containers[0].Image; !strings.HasSuffix(image, ":next") {
			t.Errorf("it runs %s", image)
		}
		before = daemonPod(t)
		helm(t, "rollback", "sluice", "--namespace", namespace, "--wait", "--timeout", "8m")
		rolled(t, before)
	})
}

// A drain takes the pods and leaves the daemon; when the node is back, they get their devices again.
func TestADrainedNodeComesBack(t *testing.T) {
	release(t)
	before := daemonPod(t)
	replicas := int32(3)
	labels := map[string]string{"app": "replica"}
	template := podOf("", 2).Spec
	if _, err := client.AppsV1().Deployments("default").Create(ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "replica"}, Spec: appsv1.DeploymentSpec{
		Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: template}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		kubectl(t, "uncordon", node)
		kubectl(t, "delete", "deployment", "replica", "--cascade=foreground")
	})
	kubectl(t, "rollout", "status", "deployment/replica", "--timeout=8m")
	kubectl(t, "drain", node, "--ignore-daemonsets", "--timeout=8m")
	pods, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=replica"})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods.Items {
		if p.Status.Phase != corev1.PodPending || p.Spec.NodeName != "" {
			t.Errorf("pod %s is %s on %q after the drain", p.Name, p.Status.Phase, p.Spec.NodeName)
		}
	}
	if after := daemonPod(t); after.UID != before.UID {
		t.Error("the drain took the daemon's pod")
	}
	kubectl(t, "uncordon", node)
	kubectl(t, "rollout", "status", "deployment/replica", "--timeout=8m")
}

// One release, two groups: a node that is given another label goes over to the other group's daemon and resource. The node has no memory of
// claims: a device that has one keeps its name, whatever the configuration says.
func TestANodeGoesFromGroupToGroup(t *testing.T) {
	const other = "example.com/L40S"
	release(t)
	helm(t, "uninstall", "sluice", "--namespace", namespace, "--wait", "--timeout", "8m")
	if err := os.RemoveAll("/var/lib/sluice"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kubectl(t, "label", "node", node, "gpu-vms-") })
	kubectl(t, "label", "node", node, "gpu-vms=whole")
	groups := []string{"--set", "nodeGroups[0].name=whole", "--set", "nodeGroups[0].nodeSelector.gpu-vms=whole", "--set", "nodeGroups[1].name=named", "--set", "nodeGroups[1].nodeSelector.gpu-vms=named",
		"--set", "nodeGroups[1].config.inline.rules[0].select.ids={10de:26b9}", "--set", "nodeGroups[1].config.inline.rules[0].resource=" + other}
	release(t, groups...)
	kubectl(t, "label", "node", node, "gpu-vms=named", "--overwrite")
	allocatable(t, other, 8)
	allocatable(t, device, 0)
	until(t, "one daemon is left", func() string {
		if n := len(pidsOf("sluiced")); n != 1 {
			return fmt.Sprint(n)
		}
		return ""
	})
	kubectl(t, "label", "node", node, "gpu-vms=whole", "--overwrite")
	allocatable(t, device, 8)
	allocatable(t, other, 0)
}

// What runs goes on; of Sluice no socket is left, and the node's devices are gone.
func TestAnUninstallLeavesNoSocket(t *testing.T) {
	release(t)
	create(t, "default", podOf("stays", 1))
	before := life(t, "stays")
	helm(t, "uninstall", "sluice", "--namespace", namespace, "--wait", "--timeout", "8m")
	allocatable(t, device, 0)
	until(t, "no socket is left", func() string { return strings.Join(sockets(t), " ") })
	if pids := pidsOf("sluiced"); len(pids) != 0 {
		t.Errorf("sluiced is %v", pids)
	}
	if after := life(t, "stays"); after != before {
		t.Errorf("the pod's life was %s and is %s", before, after)
	}
	release(t)
	if after := life(t, "stays"); after != before {
		t.Errorf("after a new install the pod's life was %s and is %s", before, after)
	}
}
