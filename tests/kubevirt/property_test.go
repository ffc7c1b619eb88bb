// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	v1 "kubevirt.io/api/core/v1"

	dp "sluice.dev/sluice/tests/peer/api/deviceplugin"
	"sluice.dev/sluice/tests/peer/kubelet"
	"sluice.dev/sluice/tests/peer/rig"
)

// An offer is a host under one configuration, and how many devices each resource has there.
type offer struct {
	host, config string
	pools        map[string]int
}

var configs = map[string]string{"no configuration": rig.Head, "one rule: bind on-allocate, group one-device": bindAll}

// offers are those of tests/fixtures/offers.txt, which the unit tests hold to be true. Those of a second configuration that
// changes nothing, and hosts without any, are left out.
func offers(t *testing.T) []offer {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "fixtures", "offers.txt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := regexp.MustCompile(`^  pool (\S+): (\d+)`)
	var all []offer
	host := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutSuffix(line, ".capture"); ok {
			host = name
		} else if config, ok := configs[strings.TrimPrefix(line, " ")]; ok {
			all = append(all, offer{host, config, map[string]int{}})
		} else if m := pool.FindStringSubmatch(line); m != nil {
			all[len(all)-1].pools[m[1]], _ = strconv.Atoi(m[2])
		}
	}
	captures, _ := filepath.Glob(capture("*"))
	if len(captures) == 0 || len(all) != len(configs)*len(captures) {
		t.Fatalf("%d offers of %d hosts", len(all), len(captures))
	}
	var different []offer
	for i, o := range all {
		same := i > 0 && all[i-1].host == o.host && maps.Equal(all[i-1].pools, o.pools)
		if len(o.pools) > 0 && !same {
			different = append(different, o)
		}
	}
	return different
}

// Whatever is asked on whatever host, the answer has none of the faults and becomes the right domain, or is no answer.
func TestNoHostAndNoRequestMakesAWrongAnswer(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	answers, refusals := 0, 0
	for _, o := range offers(t) {
		t.Run(o.host, func(t *testing.T) {
			r := rig.Start(t, capture(o.host), o.config, true)
			variables := map[string]string{}
			for resource, n := range o.pools {
				p := r.Ready(resource, n)
				for _, ids := range requests(random, p.List()) {
					g := allocate(t, r, p, ids...)
					wantFaultless(t, g)
					wantInOrder(t, g)
					answers++
				}
				refusals += wantRefused(t, r, p)
				pci, _ := given{resource: resource}.variables()
				if same := variables[pci]; same != "" {
					t.Errorf("%s and %s share a variable", same, resource)
				}
				variables[pci] = resource
			}
			if n := len(r.K.Plugins()); n != len(o.pools) {
				t.Errorf("%d resources, want %d", n, len(o.pools))
			}
		})
	}
	t.Logf("%d answers, %d refusals", answers, refusals)
}

// requests are each device alone, several, and all, in any order.
func requests(random *rand.Rand, list []*dp.Device) [][]string {
	var all []string
	for _, d := range list {
		all = append(all, d.ID)
	}
	var rq [][]string
	for _, id := range all {
		rq = append(rq, []string{id})
	}
	for range 4 {
		random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		rq = append(rq, slices.Clone(all[:1+random.IntN(len(all))]))
	}
	return append(rq, slices.Clone(all))
}

// A VM with as many GPUs, or host devices, as were asked for gets them in the order of addresses; of mediated devices the first
// has the display, but as host device.
func wantInOrder(t *testing.T, g given) {
	t.Helper()
	var v vm
	var asGPUs, asHostDevices []hostdev
	for i, id := range slices.Sorted(slices.Values(g.ids)) {
		name := fmt.Sprintf("d%d", i)
		v.gpus = append(v.gpus, v1.GPU{Name: name, DeviceName: g.resource})
		v.host = append(v.host, v1.HostDevice{Name: name, DeviceName: g.resource})
		device := pci
		if !strings.Contains(id, ":") {
			device = mdev
		}
		asGPUs, asHostDevices = append(asGPUs, device("gpu-"+name, id)), append(asHostDevices, device("hostdevice-"+name, id))
	}
	if asGPUs[0].Type == "mdev" {
		asGPUs[0] = asGPUs[0].shown("on", "on")
	}
	wantDomain(t, g.env, vm{gpus: v.gpus}, asGPUs...)
	wantDomain(t, g.env, vm{host: v.host}, asHostDevices...)
}

// wantRefused asks for what is not in the pool: other functions and instances of the host, and texts near an id of it.
func wantRefused(t *testing.T, r *rig.Rig, p *kubelet.Plugin) int {
	t.Helper()
	list := p.List()
	id := list[0].ID
	near := []string{"", ",", " " + id, id + " ", id + ",", id + "\n", id + "," + list[len(list)-1].ID, id[1:], "1" + id, id + "0", p.Resource,
		"../" + id, "0000:00:20.0", "10000:00:00.0", "00000000-0000-0000-0000-000000000000"}
	if upper := strings.ToUpper(id); upper != id {
		near = append(near, upper)
	}
	for _, bus := range []string{"pci", "mdev"} {
		others, _ := filepath.Glob(filepath.Join(r.Host(), "sys", "bus", bus, "devices", "*"))
		for _, path := range others {
			if name := filepath.Base(path); !slices.ContainsFunc(list, func(d *dp.Device) bool { return d.ID == name }) {
				near = append(near, name)
			}
		}
	}
	rq := [][]string{nil, {id, id}, {id, near[len(near)-1]}}
	for _, s := range near {
		rq = append(rq, []string{s})
	}
	for _, ids := range rq {
		if rs, err := p.Allocate(r.Context(), ids...); err == nil {
			t.Errorf("%s %q is answered: %v", p.Resource, ids, rs)
		}
	}
	if len(list) > 1 {
		// Kubelet asks for one container at a time; of several, the second could get what is the first's.
		several := &dp.AllocateRequest{}
		for _, d := range list[:2] {
			several.ContainerRequests = append(several.ContainerRequests, &dp.ContainerAllocateRequest{DevicesIds: []string{d.ID}})
		}
		rs := &dp.AllocateResponse{}
		if err := p.Conn.Invoke(r.Context(), "/v1beta1.DevicePlugin/Allocate", several, rs); err == nil {
			t.Errorf("%s: two containers are answered: %v", p.Resource, rs)
		}
	}
	return len(rq)
}

// Names as an administrator may choose them, one for each GPU of a host.
func TestAnyNameIsFoundUnderItsVariable(t *testing.T) {
	names := []string{"a.b/c", "nvidia.com/GRID_T4-1Q", "nvidia.com/26b5", "intel.com/qat.gen4", "x-y.example.com/a-._b", "gpu.example.com/A.b_C-d",
		"0.example.com/0", "example.com/" + strings.Repeat("aZ-", 20) + "end"}
	var config strings.Builder
	config.WriteString(rig.Head + "rules:\n")
	ids := []string{"0000:18:00.0", "0000:19:00.0", "0000:3a:00.0", "0000:3b:00.0", "0000:9a:00.0", "0000:9b:00.0", "0000:ba:00.0", "0000:bb:00.0"}
	for i, name := range names {
		fmt.Fprintf(&config, "  - {select: {addresses: [%q]}, resource: %q}\n", ids[i], name)
	}
	r := rig.Start(t, capture("l40s-8-vfio"), config.String(), true)
	env := environment{}
	var want []hostdev
	for i, name := range names {
		g := allocate(t, r, r.Ready(name, 1), ids[i])
		wantFaultless(t, g)
		maps.Copy(env, g.env)
		want = append(want, pci(fmt.Sprintf("gpu-gpu%d", i), ids[i]))
	}
	wantDomain(t, env, gpus(names...), want...)
}

// Names that KubeVirt looks up under one variable are refused before anything is offered.
func TestNamesThatShareAVariableAreRefused(t *testing.T) {
	for _, name := range []string{"a.com/X.y", "a.com/x_y", "a.com/X_Y"} {
		if a, b := (given{resource: "a.com/x.y"}), (given{resource: name}); fmt.Sprint(a.variables()) != fmt.Sprint(b.variables()) {
			t.Fatalf("%s has a variable of its own", name)
		}
		path := filepath.Join(t.TempDir(), "config.yaml")
		text := rig.Head + "rules:\n  - {select: {ids: [\"10de:26b9\"]}, resource: a.com/x.y}\n  - {resource: \"" + name + "\"}\n"
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(filepath.Join(os.Getenv("SLUICE_BIN"), "sluiced"), "--check-config", "--config", path).CombinedOutput()
		if err == nil || !strings.Contains(string(out), name) {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}
