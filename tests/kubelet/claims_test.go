// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	podresapi "k8s.io/kubelet/pkg/apis/podresources/v1"
)

// quickPods is a sluiced that asks for pods ten times a second, and for which the minutes of a claim's life are seconds.
const quickPods = "sluiced-quick-pods"

// claims are what sluiced has written down: device -> "namespace/pod/container", "" as long as it does not know.
func claims(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	files, _ := filepath.Glob(nodeDir + "/state/claims/*.record")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if os.IsNotExist(err) {
			continue // it has just ended
		}
		var claim struct {
			Owner, State string
			Devices      []struct{ ID string }
			Pod          struct{ Namespace, Name, Container string }
		}
		_, body, _ := bytes.Cut(text, []byte("\n"))
		if err := json.Unmarshal(body, &claim); err != nil || claim.Owner != "kubelet" || len(claim.Devices) != 1 {
			t.Fatalf("%s: %v: %s", file, err, text)
		}
		out[claim.Devices[0].ID] = ""
		if claim.State == "seen" {
			out[claim.Devices[0].ID] = claim.Pod.Namespace + "/" + claim.Pod.Name + "/" + claim.Pod.Container
		}
	}
	return out
}

// podsHave is the same as kubelet has it.
func podsHave(t *testing.T) map[string]string {
	t.Helper()
	list, err := podresapi.NewPodResourcesListerClient(dial(t, podResSocket)).List(soonContext(t), &podresapi.ListPodResourcesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, p := range list.PodResources {
		for _, c := range p.Containers {
			for _, d := range c.Devices {
				for _, id := range d.DeviceIds {
					who := p.Namespace + "/" + p.Name + "/" + c.Name
					if was, ok := out[id]; ok && was != who {
						t.Errorf("%s is given twice: to %s and to %s", id, was, who)
					}
					out[id] = who
				}
			}
		}
	}
	return out
}

// thinksWhatKubeletSays waits until sluiced's claims are kubelet's own list.
func (n *node) thinksWhatKubeletSays() {
	n.t.Helper()
	says := podsHave(n.t)
	var thinks map[string]string
	waitFor(n.t, func() string { return fmt.Sprintf("%v; sluiced thinks %v", says, thinks) }, func() bool {
		thinks = claims(n.t)
		return maps.Equal(thinks, says)
	})
}

// held are pods that run, and what they have had from the start.
type held map[*v1.Pod][]string

func (h held) any(rng *rand.Rand) *v1.Pod {
	pods := slices.SortedFunc(maps.Keys(h), func(a, b *v1.Pod) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	return pods[rng.Intn(len(pods))]
}

// check: nobody has lost anything, nor has anybody what another one has.
func (n *node) check(h held) {
	n.t.Helper()
	owner := map[string]string{}
	for pod, ids := range h {
		if got := n.k.assigned(pod, "main", l40s); !slices.Equal(got, ids) {
			n.t.Errorf("%s has %v and had %v", pod.Name, got, ids)
		}
		for _, id := range ids {
			if owner[id] != "" {
				n.t.Errorf("%s is given to %s and to %s", id, owner[id], pod.Name)
			}
			owner[id] = pod.Name
		}
	}
}

// change: a pod more, or one less.
func (n *node) change(h held, rng *rand.Rand) {
	n.t.Helper()
	taken := 0
	for _, ids := range h {
		taken += len(ids)
	}
	if count := 1 + rng.Intn(3); taken+count <= 8 && rng.Intn(3) > 0 {
		pod, ids := n.admit(l40s, int64(count))
		h[pod] = ids
	} else if len(h) > 0 {
		pod := h.any(rng)
		n.pods.remove(pod)
		delete(h, pod)
	}
}

func seed() int64 { return number("KUBELET_SEED", time.Now().UnixNano()%1000000) }

// What sluiced thinks is compared with kubelet's own answer, and again after it was killed with claims held.
func TestClaimsAreWhatKubeletSays(t *testing.T) {
	n := newNode(t, "l40s-8", onAllocate)
	n.program = quickPods
	n.startKubelet()
	n.startDaemon()
	n.has(l40s, 8, 8)
	start, h := seed(), held{}
	say("%s: KUBELET_SEED=%d", t.Name(), start)
	rng := rand.New(rand.NewSource(start))
	for i := range 12 {
		n.change(h, rng)
		n.thinksWhatKubeletSays()
		if i%4 == 3 {
			n.d.kill()
			n.startDaemon()
			n.has(l40s, 8, 8)
			n.thinksWhatKubeletSays()
		}
		n.check(h)
	}
	n.pods.clear()
	waitFor(t, func() string { return fmt.Sprintf("no claims: %v", claims(t)) }, func() bool { return len(claims(t)) == 0 })
}

// Killed and restarted in any order, with pods coming and going: what was given stays given, to one, and both say so in the end.
func TestBothRestartAtRandomMoments(t *testing.T) {
	n := newNode(t, "l40s-8", onAllocate)
	n.program = quickPods
	n.startKubelet()
	n.startDaemon()
	n.has(l40s, 8, 8)
	rounds, start, h := int(number("BOTH_RESTARTS", 20)), seed(), held{}
	say("%s: %d rounds, KUBELET_SEED=%d", t.Name(), rounds, start)
	rng := rand.New(rand.NewSource(start))
	pause := func(max time.Duration) { time.Sleep(time.Duration(rng.Int63n(int64(max)))) }
	for i := range rounds {
		n.change(h, rng)
		pause(150 * time.Millisecond) // what nobody waits for may be on the disk by then, or not
		switch rng.Intn(4) {
		case 0:
			n.d.kill()
			pause(50 * time.Millisecond)
			n.startDaemon()
		case 1:
			n.k.shutdown()
			pause(50 * time.Millisecond)
			n.startKubelet()
		case 2:
			n.k.shutdown()
			n.d.kill()
			n.startDaemon()
			pause(50 * time.Millisecond)
			n.startKubelet()
		case 3:
			n.d.kill()
			n.k.shutdown()
			n.startKubelet()
			pause(50 * time.Millisecond)
			n.startDaemon()
		}
		n.has(l40s, 8, 8)
		n.check(h)
		if i%10 == 9 {
			n.thinksWhatKubeletSays()
		}
		if t.Failed() {
			t.Fatalf("round %d", i)
		}
	}
	n.thinksWhatKubeletSays()
}
