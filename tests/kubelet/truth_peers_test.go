// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"
)

// A truthPeer is a kubelet that a row is played to: its own code, or tests/fakekubelet, which is held to the same answers.
type truthPeer interface {
	dir() string
	restart()
	count(resource string) string // "capacity/allocatable"
	// admit is the admission of a pod: "", why not, or crashed. After a crash nothing more may be asked.
	admit(pod string, containers ...truthContainer) string
	devices(pod, container, resource string) []string
	// run starts a container: its variables, sorted, or why not.
	run(pod, container string) string
	end(pod string)
}

type truthContainer struct {
	name  string
	init  bool
	wants map[string]int // of each resource
	nodes int            // the topology manager's verdict, bit by bit; told to the fake, which has no such manager
}

const crashed = "kubelet crashed"

func wants(name, resource string, n int) truthContainer {
	return truthContainer{name: name, wants: map[string]int{resource: n}}
}

// ---- kubelet's own code ----

type realKubelet struct {
	n    *node
	pods map[string]*v1.Pod
}

func newRealKubelet(t *testing.T) truthPeer {
	n := newNode(t, "", "")
	n.startKubelet()
	return &realKubelet{n: n, pods: map[string]*v1.Pod{}}
}

func (r *realKubelet) dir() string { return kubeletDir }
func (r *realKubelet) restart()    { r.n.restartKubelet() }
func (r *realKubelet) count(resource string) string {
	c, a := r.n.k.count(resource)
	return fmt.Sprintf("%d/%d", c, a)
}

func (r *realKubelet) admit(pod string, containers ...truthContainer) string {
	p := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: pod, Namespace: "default", UID: types.UID("uid-" + pod)}}
	for _, c := range containers {
		made := container(c.name, "", 0)
		made.Resources = v1.ResourceRequirements{Limits: v1.ResourceList{}, Requests: v1.ResourceList{}}
		for resource, n := range c.wants {
			one := container(c.name, resource, int64(n)).Resources.Limits
			for name, quantity := range one {
				made.Resources.Limits[name], made.Resources.Requests[name] = quantity, quantity
			}
		}
		if c.init {
			p.Spec.InitContainers = append(p.Spec.InitContainers, made)
		} else {
			p.Spec.Containers = append(p.Spec.Containers, made)
		}
	}
	if old := r.pods[pod]; old != nil {
		r.n.pods.remove(old)
	}
	r.pods[pod] = p
	r.n.pods.add(p)
	result, ok := r.tryAdmit(p)
	if !ok {
		return crashed
	}
	if result.Admit {
		return ""
	}
	r.n.pods.remove(p)
	return result.Message
}

// A device manager that panicked holds its lock for ever: it cannot be stopped, and is left behind.
func (r *realKubelet) tryAdmit(p *v1.Pod) (result lifecycle.PodAdmitResult, ok bool) {
	defer func() {
		if recover() != nil {
			r.n.k.stop, result, ok = nil, lifecycle.PodAdmitResult{}, false
		}
	}()
	return r.n.k.admit(p), true
}

func (r *realKubelet) devices(pod, container, resource string) []string {
	return r.n.k.assigned(r.pods[pod], container, resource)
}

func (r *realKubelet) run(pod, container string) string {
	p := r.pods[pod]
	for _, list := range [][]v1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			if list[i].Name != container {
				continue
			}
			o, err := runOptions(r.n.k.devices, p, &list[i])
			if err != nil {
				return err.Error()
			}
			var out []string
			for _, e := range o.Envs {
				out = append(out, e.Name+"="+e.Value)
			}
			slices.Sort(out)
			return strings.Join(out, " ")
		}
	}
	panic(container)
}

func (r *realKubelet) end(pod string) { r.n.pods.end(r.pods[pod]) }

// ---- the fake ----

type fakeKubelet struct {
	t    *testing.T
	root string
	in   io.Writer
	out  *bufio.Scanner
}

func newFakeKubelet(t *testing.T, profile string) truthPeer {
	root, err := os.MkdirTemp("/tmp", "fake") // short: socket paths are limited
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(os.Getenv("SLUICE_BIN"), "fakekubelet"), "--dir", root, "--profile", profile)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f := &fakeKubelet{t: t, root: root, in: in, out: bufio.NewScanner(out)}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
		_ = os.RemoveAll(root)
	})
	if !f.out.Scan() || !strings.Contains(f.out.Text(), "is up") {
		t.Fatalf("the fake kubelet does not start: %q", f.out.Text())
	}
	return f
}

// do gives a command: the lines it prints, and why it failed.
func (f *fakeKubelet) do(format string, args ...any) (lines []string, failed string) {
	fmt.Fprintf(f.in, format+"\n", args...)
	for f.out.Scan() {
		line := f.out.Text()
		if line == "ok" {
			return lines, ""
		}
		if text, ok := strings.CutPrefix(line, "failed: "); ok {
			return lines, text
		}
		lines = append(lines, line)
	}
	return lines, "the fake kubelet is gone"
}

func (f *fakeKubelet) dir() string { return f.root }
func (f *fakeKubelet) restart()    { f.do("restart") }
func (f *fakeKubelet) count(resource string) string {
	c, a := "0", "0"
	lines, _ := f.do("counts %s", resource)
	for _, line := range lines {
		if n, ok := strings.CutPrefix(line, "capacity "); ok {
			c = n
		} else if n, ok := strings.CutPrefix(line, "allocatable "); ok {
			a = n
		}
	}
	return c + "/" + a
}

func (f *fakeKubelet) admit(pod string, containers ...truthContainer) string {
	for _, init := range []bool{true, false} {
		for _, c := range containers {
			if c.init != init {
				continue
			}
			kind, list := "main", ""
			if init {
				kind = "init"
			}
			for resource, n := range c.wants {
				list += fmt.Sprintf(" %s=%d", resource, n)
				if c.nodes != 0 {
					list += fmt.Sprintf("@%d", c.nodes)
				}
			}
			if _, failed := f.do("container %s %s %s%s", pod, c.name, kind, list); strings.Contains(failed, crashed) {
				return crashed
			} else if failed != "" {
				return failed
			}
		}
	}
	return ""
}

func (f *fakeKubelet) devices(pod, container, resource string) []string {
	lines, _ := f.do("devices %s %s %s", pod, container, resource)
	return lines
}

func (f *fakeKubelet) run(pod, container string) string {
	lines, failed := f.do("start %s %s", pod, container)
	if failed != "" {
		return failed
	}
	var out []string
	for _, line := range lines {
		if env, ok := strings.CutPrefix(line, "env "); ok {
			out = append(out, env)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func (f *fakeKubelet) end(pod string) { f.do("end %s", pod) }
