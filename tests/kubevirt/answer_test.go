// SPDX-License-Identifier: Apache-2.0

package kubevirt

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	v1 "kubevirt.io/api/core/v1"

	"kubevirt.io/kubevirt/pkg/util"
	"kubevirt.io/kubevirt/pkg/util/hardware"

	dp "sluice.dev/sluice/tests/peer/api/deviceplugin"
	"sluice.dev/sluice/tests/peer/kubelet"
	"sluice.dev/sluice/tests/peer/rig"
)

const (
	bindAll = rig.Head + "rules:\n  - bind: on-allocate\n    group: one-device\n"
	uuid    = `[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`
)

var canonical = regexp.MustCompile(`^([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]|` + uuid + `)$`)

func capture(name string) string { return filepath.Join("..", "fixtures", "hosts", name+".capture") }

// A given is one container's answer, with what was asked for.
type given struct {
	resource string
	ids      []string
	env      map[string]string
	nodes    []*dp.DeviceSpec
	host     string // the directory of the host's sys, proc and dev
}

// allocate is one call of kubelet: the container gets ids of one resource.
func allocate(t *testing.T, r *rig.Rig, p *kubelet.Plugin, ids ...string) given {
	t.Helper()
	rs, err := p.Allocate(r.Context(), ids...)
	if err != nil {
		t.Fatalf("%s %v: %v", p.Resource, ids, err)
	}
	if len(rs.ContainerResponses) != 1 {
		t.Fatalf("%s %v: %d containers", p.Resource, ids, len(rs.ContainerResponses))
	}
	c := rs.ContainerResponses[0]
	if len(c.Mounts)+len(c.Annotations)+len(c.CdiDevices) != 0 {
		t.Errorf("%s %v: more than variables and nodes: %v", p.Resource, ids, c)
	}
	return given{p.Resource, ids, c.Envs, c.Devices, r.Host()}
}

// The two names under which virt-launcher looks for a resource's devices, by its own transform.
func (g given) variables() (pci, mdev string) {
	return util.ResourceNameToEnvVar(v1.PCIResourcePrefix, g.resource), util.ResourceNameToEnvVar(v1.MDevResourcePrefix, g.resource)
}

// addresses are those of the resource's variables, taken apart as virt-launcher does.
func (g given) addresses() (pci, mdev []string) {
	p, m := g.variables()
	split := func(name string) []string {
		if value := strings.TrimSuffix(g.env[name], ","); value != "" {
			return strings.Split(value, ",")
		}
		return nil
	}
	return split(p), split(m)
}

func (g given) all() []string {
	pci, mdev := g.addresses()
	return append(slices.Clone(pci), mdev...)
}

// A fault is something that must not be in an answer; it says what, or nothing.
type fault func(g given) string

// faults are all the ways in which an answer can lead KubeVirt, libvirt or the runtime astray. The table of wrong input
// shows what each does there; no host and no request may make sluiced give one of them.
var faults = map[string]fault{
	"no variable of this resource": func(g given) string {
		p, m := g.variables()
		if _, ok := g.env[p]; ok {
			return ""
		}
		if _, ok := g.env[m]; ok {
			return ""
		}
		return fmt.Sprintf("neither %s nor %s in %v", p, m, g.env)
	},
	"both prefixes": func(g given) string {
		p, m := g.variables()
		_, isPCI := g.env[p]
		_, isMdev := g.env[m]
		if isPCI && isMdev {
			return fmt.Sprint(g.env)
		}
		return ""
	},
	"another variable": func(g given) string {
		p, m := g.variables()
		for name := range g.env {
			if name != p && name != m {
				return name
			}
		}
		return ""
	},
	"fewer addresses than devices": func(g given) string {
		if n := len(g.all()); n < len(g.ids) {
			return fmt.Sprintf("%d for %v", n, g.ids)
		}
		return ""
	},
	"more addresses than devices": func(g given) string {
		if n := len(g.all()); n > len(g.ids) {
			return fmt.Sprintf("%d for %v", n, g.ids)
		}
		return ""
	},
	"an address twice": func(g given) string {
		all := g.all()
		slices.Sort(all)
		if len(slices.Compact(slices.Clone(all))) != len(all) {
			return fmt.Sprint(all)
		}
		return ""
	},
	"a device that was not asked for": func(g given) string {
		for _, a := range g.all() {
			if !slices.Contains(g.ids, a) {
				return a
			}
		}
		return ""
	},
	"not in the order of addresses": func(g given) string {
		if all := g.all(); !slices.IsSorted(all) {
			return fmt.Sprint(all)
		}
		return ""
	},
	"a PCI address that KubeVirt cannot parse": func(g given) string {
		pci, _ := g.addresses()
		for _, a := range pci {
			if _, err := hardware.ParsePciAddress(a); err != nil {
				return err.Error()
			}
		}
		return ""
	},
	"a slot above 0x1f": func(g given) string {
		pci, _ := g.addresses()
		for _, a := range pci {
			if parts, err := hardware.ParsePciAddress(a); err == nil && parts[2] > "1f" {
				return a
			}
		}
		return ""
	},
	"no UUID in the variable of mediated devices": func(g given) string {
		_, mdev := g.addresses()
		for _, a := range mdev {
			if !regexp.MustCompile("^" + uuid + "$").MatchString(a) {
				return a
			}
		}
		return ""
	},
	"another spelling than the kernel's": func(g given) string {
		for _, a := range g.all() {
			if !canonical.MatchString(a) {
				return a
			}
		}
		return ""
	},
	"not exactly the nodes of its devices": func(g given) string {
		var have []string
		for _, d := range g.nodes {
			have = append(have, d.HostPath)
		}
		slices.Sort(have)
		if want := g.wantNodes(); !slices.Equal(have, want) {
			return fmt.Sprintf("%v, and the host has %v", have, want)
		}
		return ""
	},
	"a node under another path, or not mrw": func(g given) string {
		for _, d := range g.nodes {
			if d.ContainerPath != d.HostPath || d.Permissions != "mrw" {
				return fmt.Sprint(d)
			}
		}
		return ""
	},
}

// wantNodes reads the host as it is now: VFIO's own node, and of each device the group's node and its own, if they exist.
func (g given) wantNodes() []string {
	want := map[string]bool{"/dev/vfio/vfio": true}
	for _, id := range g.ids {
		device := filepath.Join(g.host, "sys", "bus", "pci", "devices", id)
		if !strings.Contains(id, ":") {
			device = filepath.Join(g.host, "sys", "bus", "mdev", "devices", id)
		}
		group, _ := os.Readlink(filepath.Join(device, "iommu_group"))
		want["/dev/vfio/"+filepath.Base(group)] = true
		own, _ := filepath.Glob(filepath.Join(device, "vfio-dev", "vfio*"))
		for _, d := range own {
			want["/dev/vfio/devices/"+filepath.Base(d)] = true
		}
	}
	maps.DeleteFunc(want, func(path string, _ bool) bool {
		_, err := os.Stat(filepath.Join(g.host, path))
		return err != nil
	})
	return slices.Sorted(maps.Keys(want))
}

// wantFaultless is the whole contract on one answer.
func wantFaultless(t *testing.T, g given) {
	t.Helper()
	for name, is := range faults {
		if text := is(g); text != "" {
			t.Errorf("%s %v: %s: %s", g.resource, g.ids, name, text)
		}
	}
}
