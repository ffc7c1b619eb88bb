// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	reg "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
	podresapi "k8s.io/kubelet/pkg/apis/podresources/v1"
)

// The rest of the tests, and most of sluiced's, trust tests/fakekubelet to behave as kubelet does. Here each row of what it
// claims is played to kubelet's own code and to the fake, by the same plugin, and what can be seen is compared.
//
// Not here: A6 (1.37 is not to be had), the grace period of B1 (five minutes), the moment between bind and listen of B2, counts
// of messages (C4: kubelet tells nobody).

const res = "example.com/gpu"

// A stage is one row played to one kubelet.
type stage struct {
	truthPeer
	t    *testing.T
	seen []string
}

func (s *stage) see(format string, args ...any) {
	s.seen = append(s.seen, fmt.Sprintf(format, args...))
}

// counts waits for what is expected and notes what is there.
func (s *stage) counts(expected string) {
	for end := time.Now().Add(soon); s.count(res) != expected && time.Now().Before(end); {
		time.Sleep(2 * time.Millisecond)
	}
	s.see("counts %s", s.count(res))
}

// eventually waits for it; what did not come is noted, and differs from the other kubelet, or fails the row.
func (s *stage) eventually(what string, is func() bool) {
	for end := time.Now().Add(soon); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Errorf("never: %s", what)
			return
		}
	}
}

// stays is long enough for what would follow.
func stays() { time.Sleep(700 * time.Millisecond) }

func (s *stage) actor(socket string, devices ...string) *actor {
	return newActor(s.t, s.dir(), res, socket, devices...)
}

// registered is a plugin whose list kubelet has.
func (s *stage) registered(devices ...string) *actor {
	a := s.actor("actor.sock", devices...)
	s.see("Register: %s", a.register(soon))
	s.counts(fmt.Sprintf("%d/%d", len(devices), len(devices)))
	return a
}

var four = []string{"a", "b", "c", "d"}

var rows = []struct {
	id, what string
	play     func(s *stage)
}{
	{"A1", "Register dials and asks for the options before it answers; those in the request count for nothing", func(s *stage) {
		a := s.actor("actor.sock", four...)
		said := a.registerAs(&api.RegisterRequest{Version: api.Version, Endpoint: a.socket, ResourceName: res, Options: &api.DevicePluginOptions{}}, soon)
		s.see("%s after %d questions for options", said, a.called("options"))
		s.counts("4/4")
		s.see("admitted: %q, runs with %s", s.admit("pod", wants("main", res, 4)), s.run("pod", "main"))
		s.see("%s", a.log())
	}},
	{"A3", "a Register whose deadline passes while the options are asked for", func(s *stage) {
		a := s.actor("actor.sock", four...)
		a.options = func() error { time.Sleep(900 * time.Millisecond); return nil }
		// Kubelet asks under the caller's deadline: which of the two says first that it has passed goes by microseconds.
		said := a.register(300 * time.Millisecond)
		if strings.HasPrefix(said, "Unknown: failed to get device plugin options: ") && strings.Contains(said, "code = DeadlineExceeded") {
			said = "DeadlineExceeded"
		}
		s.see("Register: %s", said)
		time.Sleep(600 * time.Millisecond)
		stays()
		s.see("%d questions for the list, counts %s", a.called("list"), s.count(res))
	}},
	{"A4", "refusals and their words", func(s *stage) {
		a := s.actor("actor.sock", four...)
		for _, name := range []string{"nvidia.com/GP102GL_Tesla_P40", "gpu", "kubernetes.io/gpu", "NVIDIA.com/gpu", "nvidia.com/a/b", "nvidia.com/-x",
			"requests.x.com/gpu", "x.com/" + strings.Repeat("a", 63), "x.com/" + strings.Repeat("a", 64), "x.com/", "/x", "", "x.com/a b",
			strings.Repeat("a", 250) + ".com/x"} {
			s.see("%s", a.registerAs(&api.RegisterRequest{Version: api.Version, Endpoint: a.socket, ResourceName: name}, soon))
		}
		for _, version := range []string{"", "v1alpha1", "v1", "V1beta1"} {
			s.see("%s", a.registerAs(&api.RegisterRequest{Version: version, Endpoint: a.socket, ResourceName: res}, soon))
		}
		a.options = func() error { return status.Error(codes.Unavailable, "not now") }
		asked := a.called("list")
		s.see("%s", a.register(soon))
		a.options = func() error { return errors.New("never") }
		s.see("%s", a.register(soon))
		stays()
		s.see("%d questions for the list, counts %s", a.called("list")-asked, s.count(res))
		s.see("%s", a.registerAs(&api.RegisterRequest{Version: api.Version, Endpoint: "nobody.sock", ResourceName: res}, soon))
	}},
	{"A5", "registering again beside an open stream, then the old stream ends", func(s *stage) {
		old := s.registered(four...)
		fresh := s.actor("fresh.sock", four...)
		s.see("Register: %s", fresh.register(soon))
		s.eventually("the new list", func() bool { return fresh.called("list") > 0 })
		s.counts("4/4")
		s.see("open: %d old, %d new", old.open(), fresh.open())
		old.send(nil)
		s.counts("4/0")
		s.eventually("the new connection is closed", func() bool { return fresh.open() == 0 })
		s.see("lists: %d old, %d new", old.called("list"), fresh.called("list"))
	}},
	{"A7", "a second Register fails, then the old stream ends: kubelet does not notice", func(s *stage) {
		old := s.registered(four...)
		fresh := s.actor("fresh.sock", four...)
		fresh.options = func() error { return errors.New("broken") }
		s.see("Register: %s", fresh.register(soon))
		stays()
		s.see("open: %d old, counts %s", old.open(), s.count(res))
		old.send(nil)
		stays()
		s.see("counts %s", s.count(res))
	}},
	{"A8", "a Register is given up while a later one has succeeded, then that one's stream ends", func(s *stage) {
		old := s.actor("old.sock", four...)
		old.options = func() error { time.Sleep(3 * time.Second); return nil }
		given := make(chan string)
		go func() { given <- old.register(1500 * time.Millisecond) }()
		s.eventually("the first is under way", func() bool { return old.called("options") > 0 })
		fresh := s.actor("fresh.sock", four...)
		s.see("second: %s", fresh.register(soon))
		s.eventually("its list", func() bool { return fresh.called("list") > 0 })
		s.counts("4/4")
		s.see("first: %s", <-given)
		time.Sleep(2 * time.Second) // the first's options are answered, to nobody or to kubelet
		s.see("counts %s; lists: %d old, %d new; open: %d old, %d new", s.count(res), old.called("list"), fresh.called("list"), old.open(), fresh.open())
		fresh.send(nil)
		stays()
		s.see("counts %s; open: %d old", s.count(res), old.open())
	}},
	{"B1", "a stream that ends leaves no device allocatable and is not opened again", func(s *stage) {
		a := s.registered(four...)
		a.send(nil)
		s.counts("4/0")
		stays()
		s.see("%d questions for the list; a pod: %s", a.called("list"), s.admit("pod", wants("main", res, 1)))
	}},
	{"B2", "a start wipes the directory", func(s *stage) {
		dir := filepath.Join(s.dir(), "device-plugins")
		for _, name := range []string{"file", "kubelet_internal_checkpoint.bak"} {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				s.t.Fatal(err)
			}
		}
		if err := os.Mkdir(filepath.Join(dir, "directory"), 0o700); err != nil {
			s.t.Fatal(err)
		}
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "other.sock"), Net: "unix"})
		if err != nil {
			s.t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		defer func() { _ = l.Close() }()
		s.restart()
		for _, name := range []string{"file", "kubelet_internal_checkpoint.bak", "directory", "other.sock", "kubelet.sock"} {
			_, err := os.Lstat(filepath.Join(dir, name))
			s.see("%s is there: %t", name, err == nil)
		}
	}},
	{"B3", "after a start nothing is there until the plugin registers; what was answered is replayed", func(s *stage) {
		a := s.registered(four...)
		s.see("admitted: %q, runs with %s", s.admit("pod", wants("main", res, 4)), s.run("pod", "main"))
		s.restart()
		s.eventually("the stream ends", func() bool { return a.open() == 0 })
		s.counts("0/0")
		starts := a.called("start")
		s.see("runs with %s; %d starts more", s.run("pod", "main"), a.called("start")-starts)
		s.see("another pod: %s", s.admit("other", wants("main", res, 1)))
		fresh := s.actor("fresh.sock", four...)
		s.see("Register: %s", fresh.register(soon))
		s.counts("4/4")
		s.see("runs with %s", s.run("pod", "main"))
		s.see("%s", fresh.log())
	}},
	{"C1", "a list replaces all; doubles, unknown health, nothing at all", func(s *stage) {
		a := s.registered(four...)
		a.send(healthy("x", "y"))
		s.counts("2/2")
		a.send(healthy("x", "x", "y", "x"))
		stays()
		s.see("doubles: %s", s.count(res))
		a.send(&api.ListAndWatchResponse{Devices: []*api.Device{{ID: "x", Health: "healthy"}, {ID: "y", Health: ""}, {ID: "z", Health: api.Healthy}}})
		s.counts("3/1")
		a.send(&api.ListAndWatchResponse{Devices: []*api.Device{{ID: "x", Health: api.Healthy}, {ID: "x", Health: api.Unhealthy}}})
		s.counts("1/0")
		a.send(&api.ListAndWatchResponse{})
		s.counts("0/0")
		s.see("a pod: %s", s.admit("pod", wants("main", res, 1)))
		a.send(healthy(four...))
		s.counts("4/4")
		s.see("%d streams, %d questions for the list", a.open(), a.called("list"))
	}},
	{"C2", "a message of more than 4 MiB ends the stream", func(s *stage) {
		a := s.registered(four...)
		a.send(healthy(strings.Repeat("x", 4<<20-20)))
		s.counts("1/1")
		s.see("%d streams", a.open())
		a.send(healthy(strings.Repeat("x", 4<<20)))
		s.counts("1/0")
		s.eventually("the stream ends", func() bool { return a.open() == 0 })
	}},
	{"C3", "bytes that are no UTF-8", func(s *stage) {
		a := s.registered(four...)
		a.send([]byte{0x0a, 13, 0x0a, 2, 0xff, 'a', 0x12, 7, 'H', 'e', 'a', 'l', 't', 'h', 'y'})
		stays()
		s.see("counts %s, %d streams", s.count(res), a.open())
	}},
	{"D1", "one Allocate for each container and resource", func(s *stage) {
		a := s.registered(four...)
		s.see("admitted: %q", s.admit("pod", wants("one", res, 1), wants("two", res, 3)))
		s.see("%d and %d devices; %s", len(s.devices("pod", "one", res)), len(s.devices("pod", "two", res)), a.log())
	}},
	{"D2", "preferences: asked without a hint, followed as far as they make sense, an error is final", func(s *stage) {
		a := s.actor("actor.sock", four...)
		var answer []string
		var fails error
		a.prefer = func([]string, []string, int) ([]string, error) { return answer, fails }
		s.see("Register: %s", a.register(soon))
		s.counts("4/4")
		answer = []string{"c", "b"}
		s.see("%q %v", s.admit("two", wants("main", res, 2)), s.devices("two", "main", res))
		s.end("two")
		answer = []string{"c", "nonsense", "c"}
		s.see("%q", s.admit("few", wants("main", res, 2)))
		got := s.devices("few", "main", res)
		s.see("%d devices, c among them: %t", len(got), slices.Contains(got, "c"))
		s.end("few")
		answer = four
		s.see("%q %d devices", s.admit("many", wants("main", res, 2)), len(s.devices("many", "main", res)))
		s.end("many")
		fails = status.Error(codes.InvalidArgument, "no idea")
		s.see("%q", s.admit("bad", wants("main", res, 1)))
		s.see("all: %q", s.admit("all", wants("main", res, 4)))
		s.see("%s", a.log())
	}},
	{"D2-hint", "preferences with the topology manager's hint: among the aligned ones", func(s *stage) {
		a := s.actor("actor.sock")
		list := healthy(four...)
		for i, d := range list.Devices {
			d.Topology = &api.TopologyInfo{Nodes: []*api.NUMANode{{ID: int64(i / 2)}}}
		}
		a.list = list
		a.prefer = func(available, must []string, size int) ([]string, error) {
			slices.Sort(available)
			return available[len(available)-size:], nil
		}
		s.see("Register: %s", a.register(soon))
		s.counts("4/4")
		for _, ask := range []struct{ n, nodes int }{{1, 1}, {2, 1}, {3, 3}, {4, 3}} {
			c := wants("main", res, ask.n)
			c.nodes = ask.nodes
			pod := fmt.Sprintf("pod-%d", ask.n)
			s.see("%q %v", s.admit(pod, c), s.devices(pod, "main", res))
			s.end(pod)
		}
		s.see("%s", a.log())
	}},
	{"D3", "an init container's device is used again; a stored answer is replayed", func(s *stage) {
		a := s.actor("actor.sock", four...)
		a.prefer = func(available, must []string, size int) ([]string, error) {
			slices.Sort(available)
			return append(slices.Clone(must), slices.DeleteFunc(available, func(id string) bool { return slices.Contains(must, id) })...)[:size], nil
		}
		s.see("Register: %s", a.register(soon))
		s.counts("4/4")
		first := wants("init", res, 1)
		first.init = true
		s.see("%q", s.admit("pod", first, wants("main", res, 2)))
		s.see("init %v, main %v", s.devices("pod", "init", res), s.devices("pod", "main", res))
		s.see("%s; %s; %s", s.run("pod", "init"), s.run("pod", "main"), s.run("pod", "main"))
		s.see("%s", a.log())
		s.see("three are too many: %s", s.admit("other", wants("main", res, 3)))
		s.see("%q", s.admit("two", wants("main", res, 2)))
	}},
	{"D4", "PreStartContainer at every start; its error fails the start", func(s *stage) {
		a := s.registered(four...)
		s.see("%q %s; %s", s.admit("pod", wants("main", res, 4)), s.run("pod", "main"), s.run("pod", "main"))
		a.preStart = func() error { return status.Error(codes.FailedPrecondition, "not bound") }
		s.see("%s", s.run("pod", "main"))
		a.preStart = nil
		s.see("%s", s.run("pod", "main"))
		a.send(nil)
		s.counts("4/0")
		// 1.34 and later print the whole endpoint, addresses in memory included.
		s.see("without a stream: %s", regexp.MustCompile(`endpoint .* has`).ReplaceAllString(s.run("pod", "main"), "endpoint ... has"))
		s.see("%s", a.log())
	}},
	{"D5", "an Allocate that fails is the pod's end, and frees what was chosen", func(s *stage) {
		a := s.registered(four...)
		a.allocate = func([]string) (*api.AllocateResponse, error) {
			return nil, status.Error(codes.FailedPrecondition, "0000:18:00.0 is open in qemu")
		}
		s.see("%s", s.admit("refused", wants("main", res, 3)))
		a.allocate = func([]string) (*api.AllocateResponse, error) { return nil, errors.New("plain") }
		s.see("%s", s.admit("plain", wants("main", res, 3)))
		a.allocate = func([]string) (*api.AllocateResponse, error) { return &api.AllocateResponse{}, nil }
		s.see("%s", s.admit("empty", wants("main", res, 3)))
		a.allocate = nil
		s.see("%q", s.admit("pod", wants("main", res, 4)))
		s.see("one more: %s", s.admit("more", wants("main", res, 1)))
		s.end("pod")
		s.see("after its end: %q", s.admit("next", wants("main", res, 4)))
		s.see("not registered: %s", s.admit("none", wants("main", "example.com/none", 1)))
	}},
	{"D6", "an id leaves the list during its Allocate", func(s *stage) {
		a := s.registered(four...)
		a.allocate = func(ids []string) (*api.AllocateResponse, error) {
			a.send(healthy("z"))
			stays() // kubelet takes the list meanwhile
			return granted(ids), nil
		}
		s.see("admitted: %q", s.admit("pod", wants("main", res, 4)))
	}},
	{"D7", "several resources of one container: the first answer with a key wins", func(s *stage) {
		const other = "example.com/other"
		s.registered(four...)
		b := newActor(s.t, s.dir(), other, "other.sock", four...)
		s.see("Register: %s", b.register(soon))
		s.eventually("the other resource", func() bool { return s.count(other) == "4/4" })
		b.allocate = func([]string) (*api.AllocateResponse, error) { return granted([]string{"other"}), nil }
		c := truthContainer{name: "main", wants: map[string]int{res: 4, other: 1}}
		s.see("%q", s.admit("pod", c))
		run := s.run("pod", "main")
		s.see("one of both: %t", run == "IDS=a,b,c,d" || run == "IDS=other")
	}},
	{"E1", "the plugin watcher's questions, in their order", func(s *stage) {
		a := newWatchedActor(s.t, s.dir(), res, four...)
		a.appear(a.info.Endpoint)
		s.counts("4/4")
		s.eventually("the notification", func() bool { return a.called("notify") > 0 })
		log := a.log()
		s.see("info first: %t; %d info, %d options, %d lists", strings.HasPrefix(log, "info"), a.called("info"), a.called("options"), a.called("list"))
		calls := strings.Split(log, "; ")
		slices.Sort(calls) // list and notification race
		s.see("%s", strings.Join(calls, "; "))
	}},
	{"E2-dial", "the plugin watcher cannot use the service: told, and tried again since 1.36 only", func(s *stage) {
		a := newWatchedActor(s.t, s.dir(), res, four...)
		a.options = func() error {
			if a.called("options") == 1 {
				return errors.New("not yet")
			}
			return nil
		}
		a.appear(a.info.Endpoint)
		s.eventually("a refusal", func() bool { return a.called("notify false") > 0 })
		time.Sleep(4 * time.Second)
		s.see("%s; %d questions for info, counts %s", a.calls[2], a.called("info"), s.count(res))
		a.server.Stop()
		stays() // seen as removed
		a.appear(a.info.Endpoint)
		s.counts("4/4")
	}},
	{"E2", "the plugin watcher: failures are told and tried again, a removed socket is a goodbye", func(s *stage) {
		a := newWatchedActor(s.t, s.dir(), res, four...)
		service := a.info.Endpoint
		a.info.SupportedVersions = []string{"v2"}
		a.appear(service)
		s.eventually("two refusals", func() bool { return a.called("notify false") >= 2 })
		a.mu.Lock()
		s.see("wrong version: %s", a.calls[1])
		s.see("counts %s", s.count(res))
		a.info = &reg.PluginInfo{Type: reg.DevicePlugin, Name: res, Endpoint: service, SupportedVersions: []string{api.Version}}
		a.mu.Unlock()
		fails := 2
		a.notify = func(st *reg.RegistrationStatus) error {
			if st.PluginRegistered && fails > 0 {
				fails--
				return errors.New("deaf")
			}
			return nil
		}
		for end := time.Now().Add(10 * time.Second); a.called("notify true") < 3 && time.Now().Before(end); {
			time.Sleep(10 * time.Millisecond) // up to 1.34 kubelet does not mind
		}
		s.counts("4/4")
		stays()
		s.see("%d successes, %d streams", a.called("notify true"), a.open())
		if err := os.Remove(a.socket); err != nil {
			s.t.Fatal(err)
		}
		s.counts("4/0")
		infos := a.called("info")
		a.server.Stop()
		a.appear(service)
		s.counts("4/4")
		s.see("%d questions for info more", a.called("info")-infos)
		s.restart()
		s.counts("4/4")
		s.see("after a restart %d more", a.called("info")-infos-1)
	}},
	{"F1", "podresources: who has what, over ends and a restart; Get; the rate limit", func(s *stage) {
		a := s.actor("actor.sock")
		list := healthy(four...)
		for i, nodes := range [][]int64{{0}, {0, 1}, {1}} { // d has none
			list.Devices[i].Topology = &api.TopologyInfo{}
			for _, n := range nodes {
				list.Devices[i].Topology.Nodes = append(list.Devices[i].Topology.Nodes, &api.NUMANode{ID: n})
			}
		}
		a.list = list
		s.see("nothing: %s", s.podresources())
		s.see("Register: %s", a.register(soon))
		s.counts("4/4")
		all := wants("main", res, 4)
		all.nodes = 3
		s.see("admitted: %q; %s", s.admit("all", all), s.podresources())
		s.see("%s", s.podresourcesOf("all"))
		s.end("all")
		s.see("ended: %s", s.podresources())
		init := wants("init", res, 1)
		init.init = true
		s.see("%q", s.admit("two", init, wants("main", res, 1), wants("side", res, 3)))
		said := s.podresources()
		s.see("the one that has ended is in the list: %t; asked for: %s", strings.Contains(said, "default/all main="), s.podresourcesOf("all"))
		s.see("with devices: %t", strings.Contains(said, "default/all main=example"))
		s.see("init containers: %t, main: %t, side: %t", strings.Contains(said, "init="), strings.Contains(said, "main="), strings.Contains(said, "side="))
		s.restart()
		s.see("as before its restart: %t; %s", said == s.podresources(), s.podresourcesOf("nobody"))
		s.see("asked too often: %s", s.podresourcesAtOnce(300))
	}},
}

func (s *stage) lister() podresapi.PodResourcesListerClient {
	return podresapi.NewPodResourcesListerClient(dial(s.t, s.dir()+"/pod-resources/kubelet.sock"))
}

func podText(p *podresapi.PodResources) string {
	out := p.Namespace + "/" + p.Name
	for _, c := range p.Containers {
		var devices []string
		for _, d := range c.Devices {
			one := d.ResourceName + "=" + strings.Join(d.DeviceIds, "+")
			for _, n := range d.Topology.GetNodes() {
				one += fmt.Sprintf("@%d", n.ID)
			}
			devices = append(devices, one)
		}
		slices.Sort(devices)
		out += " " + c.Name + "=" + strings.Join(devices, ",")
	}
	return out
}

// podresources is List, in order.
func (s *stage) podresources() string {
	list, err := s.lister().List(soonContext(s.t), &podresapi.ListPodResourcesRequest{})
	if err != nil {
		return err.Error()
	}
	var pods []string
	for _, p := range list.PodResources {
		pods = append(pods, podText(p))
	}
	slices.Sort(pods)
	return strings.Join(pods, "; ")
}

func (s *stage) podresourcesOf(pod string) string {
	got, err := s.lister().Get(soonContext(s.t), &podresapi.GetPodResourcesRequest{PodName: pod, PodNamespace: "default"})
	if err != nil {
		return err.Error()
	}
	return podText(got.PodResources)
}

// podresourcesAtOnce is what is said of more calls than kubelet takes.
func (s *stage) podresourcesAtOnce(calls int) string {
	client, said := s.lister(), make(chan string)
	for range calls {
		go func() {
			_, err := client.List(soonContext(s.t), &podresapi.ListPodResourcesRequest{})
			said <- fmt.Sprint(err)
		}()
	}
	var texts []string
	for range calls {
		texts = append(texts, <-said)
	}
	slices.Sort(texts)
	return strings.Join(slices.Compact(texts), "; ")
}

func TestTheFakeKubeletToldTheTruth(t *testing.T) {
	v := os.Getenv("KUBELET_VERSION") // of kubelet's code in this binary; run.sh knows it
	if v == "" {
		t.Fatal("KUBELET_VERSION is not set")
	}
	for _, row := range rows {
		var seen [2][]string
		t.Run(row.id, func(t *testing.T) {
			for i, peer := range []string{"kubelet", "fake"} {
				t.Run(peer, func(t *testing.T) {
					t.Parallel() // both at once: much of a row is waiting
					s := &stage{t: t}
					if i == 0 {
						s.truthPeer = newRealKubelet(t)
					} else {
						s.truthPeer = newFakeKubelet(t, v)
					}
					row.play(s)
					seen[i] = s.seen
				})
			}
		})
		if len(seen[0]) == 0 && len(seen[1]) == 0 {
			continue // not among those that were asked for
		}
		verdict := "same"
		if !slices.Equal(seen[0], seen[1]) {
			verdict = "DIFFERENT"
			for i := range max(len(seen[0]), len(seen[1])) {
				was, is := at(seen[0], i), at(seen[1], i)
				if was != is {
					t.Errorf("%s %s, %s:\n kubelet: %s\n fake:    %s", v, row.id, row.what, was, is)
				}
			}
		}
		fmt.Printf("# kubelet %s %-7s %-9s %s\n", v, row.id, verdict, row.what)
	}
}

func at(list []string, i int) string {
	if i < len(list) {
		return list[i]
	}
	return "(nothing)"
}
