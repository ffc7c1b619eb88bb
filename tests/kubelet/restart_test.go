// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"fmt"
	"math/rand"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"
)

// number is an environment variable of run.sh.
func number(name string, otherwise int64) int64 {
	if n, err := strconv.ParseInt(os.Getenv(name), 10, 64); err == nil {
		return n
	}
	return otherwise
}

// say prints a line that run.sh shows also when all is well.
func say(format string, args ...any) { fmt.Printf("# "+format+"\n", args...) }

const allOnAllocate = "rules:\n  - bind: on-allocate\n"

// restarts is a node whose kubelet ends at any moment.
type restarts struct {
	*node
	rng   *rand.Rand
	names []string
}

func (r *restarts) pause(max time.Duration) { time.Sleep(time.Duration(r.rng.Int63n(int64(max)))) }

// interrupt ends kubelet's life at a moment that it chooses, and says which.
func (r *restarts) interrupt() string {
	r.t.Helper()
	what := "serving"
	var asked []admission
	switch r.rng.Intn(4) {
	case 0:
		what = "registering, listing" // the life has begun a moment ago
		r.k.shutdown()
		r.startKubelet()
		r.pause(25 * time.Millisecond)
	case 1:
		what = "allocating"
		for range 3 {
			asked = append(asked, r.admitBeside(r.names[r.rng.Intn(len(r.names))], 1))
		}
		r.pause(5 * time.Millisecond)
	case 2:
		what = "binding"
		sim(r.t, "fault", "unbind * delay 60 times 1")
		asked = append(asked, r.admitBeside(r.names[r.rng.Intn(len(r.names))], 2))
		r.pause(80 * time.Millisecond)
	}
	r.k.shutdown()
	for _, a := range asked {
		r.await(a) // either answer is right; kubelet's process takes the call with it
		r.pods.remove(a.pod)
	}
	switch r.rng.Intn(4) {
	case 0:
		what += ", wiped"
		wipe(r.t, devicePlugins)
	case 1:
		what += ", all wiped"
		wipe(r.t, kubeletDir)
	case 2:
		what += ", sluiced killed"
		if r.rng.Intn(2) == 0 {
			r.d.kill()
			r.startDaemon()
		}
	}
	if r.rng.Intn(2) == 0 {
		r.pause(30 * time.Millisecond)
	}
	return what
}

func TestKubeletRestartsAtRandomMoments(t *testing.T) {
	for _, path := range []struct{ name, config string }{{"kubelet.sock", ""}, {"watcher", watcher}} {
		t.Run(path.name, func(t *testing.T) {
			rounds, seed := int(number("KUBELET_RESTARTS", 40)), number("KUBELET_SEED", time.Now().UnixNano()%1000000)
			if path.config == watcher {
				rounds /= 4 // kubelet itself comes back for those
			}
			say("%s: %d restarts, KUBELET_SEED=%d", t.Name(), rounds, seed)
			r := &restarts{node: startNode(t, "gpus-64-of-16", path.config+allOnAllocate), rng: rand.New(rand.NewSource(seed))}
			r.names = r.hasAll(16, 4)
			var took []time.Duration
			var worst string
			for i := range rounds {
				what := r.interrupt()
				begin := time.Now()
				r.startKubelet()
				r.hasAll(16, 4)
				took = append(took, time.Since(begin))
				if took[i] == slices.Max(took) {
					worst = what
				}
				if t.Failed() {
					t.Fatalf("round %d: %s", i, what)
				}
			}
			if path.config == watcher {
				time.Sleep(2500 * time.Millisecond) // kubelet takes a socket that was made while it started once more, at a later tick
				r.hasAll(16, 4)
			}
			for _, name := range r.names {
				r.admit(name, 4)
			}
			slices.Sort(took)
			say("%s: back after %v in the middle, %v at worst (%s), with sanitizers in the build", t.Name(),
				took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond), worst)
		})
	}
}

// What kubelet knows of its pods it has from its checkpoint; sluiced, from whoever asks, makes nothing of it untrue.
func TestPodsKeepTheirDevicesOverRestarts(t *testing.T) {
	n := startNode(t, "l40s-8", onAllocate)
	n.has(l40s, 8, 8)
	pod, ids := n.admit(l40s, 2)
	want := n.start(pod, &pod.Spec.Containers[0])
	for i := range 6 {
		if i%2 == 1 {
			n.d.kill()
			n.has(l40s, 8, 0)
			n.refuses(l40s, 1, "UnexpectedAdmissionError", "no healthy devices present")
			n.startDaemon()
		} else {
			n.restartKubelet()
		}
		n.has(l40s, 8, 8)
		if got := n.k.assigned(pod, "main", l40s); !slices.Equal(got, ids) {
			t.Errorf("%v, want %v", got, ids)
		}
		n.wants(pod, &pod.Spec.Containers[0], want)
		other, rest := n.admit(l40s, 6)
		if slices.Contains(rest, ids[0]) || slices.Contains(rest, ids[1]) {
			t.Errorf("%v were given twice: %v", ids, rest)
		}
		n.pods.remove(other)
	}
}

// What a device looks like that a hand is just binding.
var unfinished = regexp.MustCompile(`\[(not-healthy|card-busy)\]|no healthy devices present|Requested: 8, Available: `)

// What kubelet tells of a plugin that has just died: in the call, before it, or when it has noticed.
var died = regexp.MustCompile(`code = Unavailable|has been stopped|no healthy devices present`)

// Killed in the middle of a bind: kubelet tells the pod so. The hand goes on, and while it does the next daemon may refuse a pod for
// what it has not finished; after that its work, or what is left of it, is in nobody's way.
func TestSluicedKilledWhileItBinds(t *testing.T) {
	n := startNode(t, "l40s-8", onAllocate)
	n.has(l40s, 8, 8)
	for i := range 5 {
		sim(t, "fault", "unbind "+gpus[0]+" delay 300 times 1")
		a := n.admitBeside(l40s, 8)
		time.Sleep(time.Duration(i*40) * time.Millisecond)
		n.d.kill()
		r := n.await(a)
		if r.Admit || !died.MatchString(r.Message) {
			t.Errorf("admitted %v: %s", r.Admit, r.Message)
		}
		n.pods.remove(a.pod)
		n.startDaemon()
		pod := n.pod(l40s, 8)
		waitFor(t, func() string { return "a pod with all: " + r.Message }, func() bool {
			n.has(l40s, 8, 8)
			if r = n.k.admit(pod); !r.Admit && !unfinished.MatchString(r.Message) {
				t.Fatal(r.Message)
			}
			return r.Admit
		})
		n.answers(pod, &pod.Spec.Containers[0], l40sEnv, gpus)
		n.pods.remove(pod)
		for _, id := range gpus { // back to the host's driver
			sim(t, "unplug", id)
		}
		n.has(l40s, 8, 0)
		for _, id := range gpus {
			sim(t, "plug", id)
		}
		n.has(l40s, 8, 8)
	}
}
