// SPDX-License-Identifier: Apache-2.0

// What the real sluiced answers, in the hands of those it is for: KubeVirt's launcher code makes host devices of the
// answer's environment, and libvirt's own parser reads the domain. $SLUICE_BIN has the programs.
package kubevirt

import (
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	v1 "kubevirt.io/api/core/v1"
	"kubevirt.io/client-go/log"
	"libvirt.org/go/libvirt"

	"kubevirt.io/kubevirt/pkg/virt-launcher/virtwrap/api"
	"kubevirt.io/kubevirt/pkg/virt-launcher/virtwrap/device/hostdevice/generic"
	"kubevirt.io/kubevirt/pkg/virt-launcher/virtwrap/device/hostdevice/gpu"
)

var conn *libvirt.Connect

func TestMain(m *testing.M) {
	log.Log.SetIOWriter(io.Discard) // a warning for each variable that is not set: one of the two prefixes never is
	var err error
	if conn, err = libvirt.NewConnect("test:///default"); err != nil {
		fmt.Fprintln(os.Stderr, "libvirt:", err)
		os.Exit(1)
	}
	code := m.Run()
	_, _ = conn.Close()
	os.Exit(code)
}

// A vm is the part of a VM's manifest that asks for devices.
type vm struct {
	gpus []v1.GPU
	host []v1.HostDevice
}

// gpus asks for devices by resource, under the names gpu0, gpu1, ...
func gpus(resources ...string) vm {
	var v vm
	for i, r := range resources {
		v.gpus = append(v.gpus, v1.GPU{Name: fmt.Sprintf("gpu%d", i), DeviceName: r})
	}
	return v
}

// display sets the display options of every GPU.
func (v vm) display(enabled bool, ramfb *bool) vm {
	gpus := slices.Clone(v.gpus)
	for i := range gpus {
		o := &v1.VGPUDisplayOptions{Enabled: &enabled}
		if ramfb != nil {
			o.RamFB = &v1.FeatureState{Enabled: ramfb}
		}
		gpus[i].VirtualGPUOptions = &v1.VGPUOptions{Display: o}
	}
	return vm{gpus, v.host}
}

// A hostdev is a <hostdev> of a domain, all that KubeVirt writes of it.
type hostdev struct {
	Type    string  `xml:"type,attr"`
	Mode    string  `xml:"mode,attr"`
	Managed string  `xml:"managed,attr"`
	Model   string  `xml:"model,attr"`
	Display string  `xml:"display,attr"`
	RamFB   string  `xml:"ramfb,attr"`
	Source  address `xml:"source>address"`
	Alias   struct {
		Name string `xml:"name,attr"`
	} `xml:"alias"`
}

type address struct {
	Type     string `xml:"type,attr"`
	Domain   string `xml:"domain,attr"`
	Bus      string `xml:"bus,attr"`
	Slot     string `xml:"slot,attr"`
	Function string `xml:"function,attr"`
	UUID     string `xml:"uuid,attr"`
}

// pci and mdev are what a device must become in the domain.
func pci(alias, bdf string) hostdev {
	d := hostdev{Type: "pci", Managed: "no", Source: address{Type: "pci", Domain: "0x" + bdf[0:4], Bus: "0x" + bdf[5:7], Slot: "0x" + bdf[8:10], Function: "0x" + bdf[11:]}}
	d.Alias.Name = "ua-" + alias
	return d
}

func mdev(alias, uuid string) hostdev {
	d := hostdev{Type: "mdev", Mode: "subsystem", Model: "vfio-pci", Source: address{UUID: uuid}}
	d.Alias.Name = "ua-" + alias
	return d
}

func (d hostdev) shown(display, ramfb string) hostdev {
	d.Display, d.RamFB = display, ramfb
	return d
}

// kept is what libvirt 9 makes of it: it spells out defaults, and has no display on PCI devices.
func (d hostdev) kept() hostdev {
	d.Mode, d.Managed, d.Source.Type = "subsystem", "no", ""
	if d.Type == "pci" {
		d.Display, d.RamFB = "", ""
	}
	return d
}

// launch is virt-launcher's part. It reads the process's environment: nothing here may run in parallel.
func launch(env map[string]string, v vm) ([]api.HostDevice, error) {
	for name, value := range env {
		_ = os.Setenv(name, value)
		defer os.Unsetenv(name)
	}
	devices, err := gpu.CreateHostDevices(v.gpus)
	if err != nil {
		return nil, err
	}
	more, err := generic.CreateHostDevices(v.host)
	return append(devices, more...), err
}

var notForTheTestDriver = regexp.MustCompile(`<cpu></cpu>|<metadata>.*</metadata>`)

// define hands the domain to libvirt, and returns the host devices as they were written and as libvirt understood them.
func define(t *testing.T, devices []api.HostDevice) (written, read []hostdev, err error) {
	t.Helper()
	domain := api.NewMinimalDomain("vm1")
	domain.Spec.Type = "test"
	domain.Spec.OS.Type.OS = "hvm"
	domain.Spec.Devices.HostDevices = devices
	text, err := xml.Marshal(domain.Spec)
	if err != nil {
		t.Fatal(err)
	}
	text = notForTheTestDriver.ReplaceAll(text, nil)
	defined, err := conn.DomainDefineXML(string(text))
	if err != nil {
		return hostdevs(t, string(text)), nil, err
	}
	defer func() {
		_ = defined.Undefine()
		_ = defined.Free()
	}()
	back, err := defined.GetXMLDesc(0)
	if err != nil {
		t.Fatal(err)
	}
	return hostdevs(t, string(text)), hostdevs(t, back), nil
}

func hostdevs(t *testing.T, text string) []hostdev {
	t.Helper()
	var domain struct {
		Devices []hostdev `xml:"devices>hostdev"`
	}
	if err := xml.Unmarshal([]byte(text), &domain); err != nil {
		t.Fatal(err)
	}
	return domain.Devices
}

// wantDomain is the whole way: the environment, KubeVirt, libvirt, and the devices in the domain in their order.
func wantDomain(t *testing.T, env map[string]string, v vm, want ...hostdev) {
	t.Helper()
	devices, err := launch(env, v)
	if err != nil {
		t.Errorf("KubeVirt, given %v: %v", env, err)
		return
	}
	written, read, err := define(t, devices)
	if err != nil {
		t.Errorf("libvirt, given %+v: %v", written, err)
		return
	}
	if !slices.Equal(written, want) {
		t.Errorf("KubeVirt wrote\n%s, want\n%s", lines(written), lines(want))
	}
	kept := make([]hostdev, len(want))
	for i := range want {
		kept[i] = want[i].kept()
	}
	if !slices.Equal(read, kept) {
		t.Errorf("libvirt read\n%s, want\n%s", lines(read), lines(kept))
	}
}

func lines(devices []hostdev) string {
	var b strings.Builder
	for _, d := range devices {
		fmt.Fprintf(&b, "  %+v\n", d)
	}
	return b.String()
}
