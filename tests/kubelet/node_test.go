// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	l40s       = "nvidia.com/AD102GL_L40S"
	l40sEnv    = "PCI_RESOURCE_NVIDIA_COM_AD102GL_L40S"
	soon       = 30 * time.Second // far more than is needed
	configHead = "apiVersion: sluice.dev/v1alpha1\nkind: NodeConfig\n"
	noRules    = "" // what is usable through VFIO already
	onAllocate = "rules:\n  - select: {ids: [\"10de:26b9\"]}\n    bind: on-allocate\n"
	bestEffort = "best-effort"
)

// node is what a test starts with: a kubelet with a policy, sluiced on a captured host, the pods that the API server has.
type node struct {
	t            *testing.T
	host, config string
	program      string // sluiced, or one made of it
	policy       string
	pods         *podList
	k            *kubelet
	d            *daemon
	n            int // pods so far
}

// newNode is a node with nothing running on it, and nothing left of the last one.
func newNode(t *testing.T, host, config string) *node {
	t.Helper()
	starts = 0
	t.Cleanup(func() {
		if t.Failed() {
			for i := 1; i <= starts; i++ {
				if log := tail(fmt.Sprintf("%s/log.%d", nodeDir, i), 5000); log != "" {
					t.Logf("sluiced said at the end:\n%s", log)
				}
			}
			t.Logf("kubelet said at the end:\n%s", tail(kubeletLog, 5000))
		}
	})
	wipe(t, kubeletDir)
	wipe(t, nodeDir)
	return &node{t: t, host: host, config: config, program: "sluiced", policy: bestEffort, pods: &podList{}}
}

// startNode starts kubelet, then sluiced.
func startNode(t *testing.T, host, config string) *node {
	t.Helper()
	n := newNode(t, host, config)
	n.startKubelet()
	n.startDaemon()
	return n
}

func (n *node) startKubelet() { n.t.Helper(); n.k = startKubelet(n.t, n.pods, n.policy) }
func (n *node) startDaemon()  { n.t.Helper(); n.d = startDaemon(n.t, n.program, n.host, n.config) }

// restartKubelet starts the next life as soon as the last one is over.
func (n *node) restartKubelet() {
	n.t.Helper()
	n.k.shutdown()
	n.startKubelet()
}

// has waits until kubelet counts so many of a resource.
func (n *node) has(resource string, capacity, allocatable int64) {
	n.t.Helper()
	var c, a int64
	what := func() string { return fmt.Sprintf("%d/%d of %s: %d/%d", capacity, allocatable, resource, c, a) }
	waitFor(n.t, what, func() bool {
		c, a = n.k.count(resource)
		return c == capacity && a == allocatable
	})
}

// pod makes an active pod with one container "main" that wants so many of a resource.
func (n *node) pod(resource string, count int64) *v1.Pod {
	return n.podOf(container("main", resource, count))
}

func (n *node) podOf(containers ...v1.Container) *v1.Pod {
	n.n++
	name := fmt.Sprintf("pod-%d", n.n)
	p := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID("uid-" + name)},
		Spec:       v1.PodSpec{Containers: containers},
	}
	n.pods.add(p)
	return p
}

func quantity(n int64) *resource.Quantity { return resource.NewQuantity(n, resource.DecimalSI) }

func container(name, res string, count int64) v1.Container {
	limits := v1.ResourceList{v1.ResourceName(res): *quantity(count)}
	return v1.Container{Name: name, Resources: v1.ResourceRequirements{Limits: limits, Requests: limits}}
}

// admit makes a pod and has it admitted: its devices.
func (n *node) admit(resource string, count int64) (*v1.Pod, []string) {
	n.t.Helper()
	p := n.pod(resource, count)
	if r := n.k.admit(p); !r.Admit {
		n.t.Fatalf("%s for %d of %s refused: %s: %s", p.Name, count, resource, r.Reason, r.Message)
	}
	ids := n.k.assigned(p, "main", resource)
	if int64(len(ids)) != count {
		n.t.Fatalf("%s has %v", p.Name, ids)
	}
	return p, ids
}

// refuse makes a pod that must be refused: reason and message as `kubectl describe` shows them. The pod is gone afterwards.
func (n *node) refuse(resource string, count int64) (reason, message string) {
	n.t.Helper()
	p := n.pod(resource, count)
	defer n.pods.remove(p)
	r := n.k.admit(p)
	if r.Admit {
		n.t.Fatalf("%s for %d of %s was admitted: %v", p.Name, count, resource, n.k.assigned(p, "main", resource))
	}
	return r.Reason, r.Message
}

func wipe(t *testing.T, dir string) {
	t.Helper()
	// sluiced may just be making a socket in it.
	waitFor(t, func() string { return "an empty " + dir }, func() bool { return os.RemoveAll(dir) == nil })
}

func waitFor(t *testing.T, what func() string, done func() bool) {
	t.Helper()
	for start := time.Now(); !done(); time.Sleep(time.Millisecond) {
		if time.Since(start) > soon {
			t.Fatalf("waited %v for %s", soon, what())
		}
	}
}

func tail(path string, max int) string {
	text, _ := os.ReadFile(path)
	if len(text) > max {
		text = text[len(text)-max:]
	}
	return string(text)
}

func soonContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), soon)
	t.Cleanup(cancel)
	return ctx
}

func dial(t *testing.T, path string) *grpc.ClientConn {
	t.Helper()
	c, err := grpc.Dial("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials())) // kubelet 1.30's grpc-go has no NewClient
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
