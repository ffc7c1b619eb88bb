// SPDX-License-Identifier: Apache-2.0

// The real sluiced against grpc-go, the implementation that kubelet is made of. $SLUICE_BIN has the programs.
package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	dp "sluice.dev/sluice/tests/peer/api/deviceplugin"
	reg "sluice.dev/sluice/tests/peer/api/pluginregistration"
	"sluice.dev/sluice/tests/peer/kubelet"
	"sluice.dev/sluice/tests/peer/rig"
)

const (
	l40s       = "nvidia.com/AD102GL_L40S"
	env        = "PCI_RESOURCE_NVIDIA_COM_AD102GL_L40S"
	onAllocate = rig.Head + "rules:\n  - select: {ids: [\"10de:26b9\"]}\n    bind: on-allocate\n"
)

// start runs sluiced on a captured host against a new stand-in.
func start(t *testing.T, fixture, config string, withKubelet bool) *rig.Rig {
	t.Helper()
	return rig.Start(t, filepath.Join("..", "fixtures", "hosts", fixture+".capture"), config, withKubelet)
}

func wantCode(t *testing.T, err error, code codes.Code, text string) {
	t.Helper()
	if status.Code(err) != code || !strings.Contains(fmt.Sprint(err), text) {
		t.Errorf("want %v with %q, have: %v", code, text, err)
	}
}

func TestRegistersWithOptionsAndTheCompleteList(t *testing.T) {
	r := start(t, "l40s-8-vfio", rig.Head, true)
	p := r.Ready(l40s, 8)
	if !p.Options.PreStartRequired || !p.Options.GetPreferredAllocationAvailable {
		t.Errorf("options: %v", p.Options)
	}
	list := p.List()
	if len(list) != 8 || list[0].ID != "0000:18:00.0" || len(list[7].Topology.GetNodes()) != 1 || list[7].Topology.Nodes[0].ID != 1 {
		t.Errorf("list: %v", list)
	}
	if n := p.Lists(); n != 1 {
		t.Errorf("%d messages", n)
	}
}

func TestAllocateAnswersAsKubeVirtNeedsIt(t *testing.T) {
	r := start(t, "l40s-8-vfio", rig.Head, true)
	p := r.Ready(l40s, 8)
	rs, err := p.Allocate(r.Context(), "0000:9a:00.0", "0000:18:00.0")
	if err != nil {
		t.Fatal(err)
	}
	if len(rs.ContainerResponses) != 1 {
		t.Fatalf("answer: %v", rs)
	}
	c := rs.ContainerResponses[0]
	if len(c.Envs) != 1 || c.Envs[env] != "0000:18:00.0,0000:9a:00.0" || len(c.Mounts)+len(c.Annotations)+len(c.CdiDevices) != 0 {
		t.Errorf("answer: %v", c)
	}
	want := map[string]bool{"/dev/vfio/vfio": true, "/dev/vfio/23": true, "/dev/vfio/35": true, "/dev/vfio/devices/vfio0": true, "/dev/vfio/devices/vfio4": true}
	for _, d := range c.Devices {
		if !want[d.HostPath] || d.ContainerPath != d.HostPath || d.Permissions != "mrw" {
			t.Errorf("node: %v", d)
		}
		delete(want, d.HostPath)
	}
	if len(want) != 0 {
		t.Errorf("missing nodes: %v", want)
	}
}

func TestAllocateBindsAndPreStartVerifies(t *testing.T) {
	r := start(t, "l40s-8", onAllocate, true)
	p := r.Ready(l40s, 8)
	if _, err := p.Allocate(r.Context(), "0000:18:00.0"); err != nil {
		t.Fatal(err)
	}
	link, err := os.Readlink(filepath.Join(r.Host(), "sys", "bus", "pci", "devices", "0000:18:00.0", "driver"))
	if err != nil || filepath.Base(link) != "vfio-pci" {
		t.Errorf("driver: %q, %v", link, err)
	}
	if err := p.PreStart(r.Context(), "0000:18:00.0"); err != nil {
		t.Error(err)
	}
	wantCode(t, p.PreStart(r.Context(), "0000:ff:00.0"), codes.NotFound, "0000:ff:00.0")
}

func TestPreferredAllocationStaysTogether(t *testing.T) {
	r := start(t, "l40s-8-vfio", rig.Head, true)
	p := r.Ready(l40s, 8)
	ids, err := p.Preferred(r.Context(), []string{"0000:18:00.0", "0000:9a:00.0", "0000:bb:00.0", "0000:3a:00.0", "0000:9b:00.0"}, []string{"0000:9b:00.0"}, 2)
	if err != nil || len(ids) != 2 || !strings.Contains(strings.Join(ids, " "), "0000:9a:00.0") {
		t.Errorf("%v, %v", ids, err)
	}
	_, err = p.Preferred(r.Context(), []string{"0000:18:00.0"}, nil, 2)
	wantCode(t, err, codes.InvalidArgument, "")
}

func TestRefusalsHaveCodesAndSentences(t *testing.T) {
	r := start(t, "l40s-8-vfio", rig.Head, true)
	p := r.Ready(l40s, 8)
	for _, row := range []struct {
		ids  []string
		code codes.Code
		text string
	}{
		{[]string{"0000:ff:00.0"}, codes.NotFound, "0000:ff:00.0"},
		{[]string{"0000:18:00.0", "0000:18:00.0"}, codes.InvalidArgument, "twice"},
		{nil, codes.InvalidArgument, "no device"},
		{[]string{strings.Repeat("x", 5000)}, codes.NotFound, l40s},
		{[]string{"caf\u00e9\n\x1b[2J"}, codes.NotFound, l40s},
		{[]string{"0000:18:00.0\x00"}, codes.InvalidArgument, "zero byte"},
	} {
		_, err := p.Allocate(r.Context(), row.ids...)
		wantCode(t, err, row.code, row.text)
		for _, c := range status.Convert(err).Message() {
			if c < ' ' {
				t.Errorf("a control character in %q", err)
			}
		}
	}
	rs := &dp.AllocateResponse{}
	wantCode(t, p.Conn.Invoke(r.Context(), "/v1beta1.DevicePlugin/Allocate", &dp.AllocateRequest{}, rs), codes.InvalidArgument, "")
}

func TestUnknownMethodsAreUnimplemented(t *testing.T) {
	r := start(t, "l40s-8-vfio", rig.Head, true)
	p := r.Ready(l40s, 8)
	for _, method := range []string{"/v1beta1.DevicePlugin/Deallocate", "/v1.PodResourcesLister/List", "/x/y"} {
		wantCode(t, p.Conn.Invoke(r.Context(), method, &dp.Empty{}, &dp.Empty{}), codes.Unimplemented, "")
	}
}

func TestOversizedRequestsHarmNobodyElse(t *testing.T) {
	r := start(t, "l40s-8-vfio", rig.Head, true)
	p := r.Ready(l40s, 8)
	other, err := kubelet.Dial(p.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	ctx := metadata.AppendToOutgoingContext(r.Context(), "big", strings.Repeat("x", 20000))
	if err := other.Invoke(ctx, "/v1beta1.DevicePlugin/GetDevicePluginOptions", &dp.Empty{}, &dp.DevicePluginOptions{}); err == nil {
		t.Error("20 kB of metadata were accepted")
	}
	huge := &dp.AllocateRequest{ContainerRequests: []*dp.ContainerAllocateRequest{{DevicesIds: []string{strings.Repeat("x", 5<<20)}}}}
	wantCode(t, other.Invoke(r.Context(), "/v1beta1.DevicePlugin/Allocate", huge, &dp.AllocateResponse{}), codes.ResourceExhausted, "")
	many := &dp.AllocateRequest{}
	for range 100000 {
		many.ContainerRequests = append(many.ContainerRequests, &dp.ContainerAllocateRequest{})
	}
	if err := other.Invoke(r.Context(), "/v1beta1.DevicePlugin/Allocate", many, &dp.AllocateResponse{}); err == nil {
		t.Error("100000 containers were accepted")
	}
	if _, err := p.Allocate(r.Context(), "0000:18:00.0"); err != nil {
		t.Error(err)
	}
	if r.K.Registers() != 1 {
		t.Errorf("%d registrations", r.K.Registers())
	}
}

func TestGarbageOnTheSocketIsClosed(t *testing.T) {
	r := start(t, "l40s-8-vfio", rig.Head, true)
	p := r.Ready(l40s, 8)
	for _, text := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x00\x01\x02\x03", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff"} {
		conn, err := net.Dial("unix", p.Endpoint)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte(text))
		_ = conn.(*net.UnixConn).CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(rig.Soon))
		buf := make([]byte, 4096)
		for err == nil {
			_, err = conn.Read(buf)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q: the connection stays open", text)
		}
		_ = conn.Close()
	}
	if _, err := p.Allocate(r.Context(), "0000:18:00.0"); err != nil {
		t.Error(err)
	}
}

func TestConcurrentAllocatesAreAllAnswered(t *testing.T) {
	r := start(t, "l40s-8-vfio", rig.Head, true)
	p := r.Ready(l40s, 8)
	ids := p.List()
	var wg sync.WaitGroup
	for worker := range 16 {
		wg.Go(func() {
			for range 30 {
				id := ids[worker%8].ID
				rs, err := p.Allocate(r.Context(), id)
				if err != nil || rs.ContainerResponses[0].Envs[env] != id {
					t.Errorf("%s: %v %v", id, rs, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestRegistersAgainAfterEveryRestart(t *testing.T) {
	r := start(t, "l40s-8-vfio", rig.Head, true)
	for range 10 {
		before := r.Ready(l40s, 8)
		if err := r.K.Restart(); err != nil {
			t.Fatal(err)
		}
		if after := r.Ready(l40s, 8); after.Endpoint == before.Endpoint {
			t.Errorf("the socket name %s is used twice", after.Endpoint)
		}
	}
}

func TestRegistersAgainWhenTheStreamIsCancelled(t *testing.T) {
	r := start(t, "l40s-8-vfio", rig.Head, true)
	for i := range 5 {
		p := r.Ready(l40s, 8)
		p.CancelWatch()
		for deadline := time.Now().Add(rig.Soon); r.K.Registers() < i+2 && time.Now().Before(deadline); {
			time.Sleep(5 * time.Millisecond)
		}
	}
	r.Ready(l40s, 8)
}

func TestRegistersAfterRefusals(t *testing.T) {
	r := start(t, "l40s-8-vfio", rig.Head, false)
	k, err := kubelet.Start(r.KubeletDir)
	if err != nil {
		t.Fatal(err)
	}
	r.K = k
	refused := 0
	k.Refuse = func(string) error {
		if refused++; refused <= 4 {
			return errors.New("failed to dial device plugin: context deadline exceeded")
		}
		return nil
	}
	r.Ready(l40s, 8)
}

func TestALookMakesUpForALostEvent(t *testing.T) {
	r := start(t, "l40s-8", onAllocate+"rescan: 5s\n", true)
	r.Ready(l40s, 8)
	device := filepath.Join(r.Host(), "sys", "bus", "pci", "devices", "0000:18:00.0")
	target, err := filepath.EvalSymlinks(device)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(device); err != nil { // and no uevent says so
		t.Fatal(err)
	}
	if err := os.RemoveAll(target); err != nil {
		t.Fatal(err)
	}
	p := r.Ready(l40s, 7)
	if len(p.List()) != 8 {
		t.Errorf("an id was dropped: %v", p.List())
	}
}

func TestTheWatcherFindsAndRegistersIt(t *testing.T) {
	r := start(t, "l40s-8-vfio", rig.Head+"registration: watcher\n", true)
	var sockets []string
	for deadline := time.Now().Add(rig.Soon); len(sockets) == 0 && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		sockets, _ = filepath.Glob(filepath.Join(r.KubeletDir, "plugins_registry", "*.sock"))
	}
	if len(sockets) != 1 {
		t.Fatalf("registration sockets: %v", sockets)
	}
	conn, err := kubelet.DialWatcher(sockets[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	info := &reg.PluginInfo{}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second) // kubelet's patience
	defer cancel()
	if err := conn.Invoke(ctx, "/pluginregistration.Registration/GetInfo", &reg.InfoRequest{}, info); err != nil {
		t.Fatal(err)
	}
	if info.Type != "DevicePlugin" || info.Name != l40s || !filepath.IsAbs(info.Endpoint) || len(info.SupportedVersions) != 1 || info.SupportedVersions[0] != "v1beta1" {
		t.Errorf("info: %v", info)
	}
	if err := r.K.Connect(info.Name, info.Endpoint); err != nil {
		t.Fatal(err)
	}
	if err := conn.Invoke(r.Context(), "/pluginregistration.Registration/NotifyRegistrationStatus", &reg.RegistrationStatus{PluginRegistered: true}, &reg.RegistrationStatusResponse{}); err != nil {
		t.Error(err)
	}
	if _, err := r.Ready(l40s, 8).Allocate(r.Context(), "0000:18:00.0"); err != nil {
		t.Error(err)
	}
	if r.K.Registers() != 0 {
		t.Error("it registered both ways")
	}
}

func TestSixteenResourcesRegisterAtOnce(t *testing.T) {
	r := start(t, "gpus-64-of-16-vfio", rig.Head, true)
	if err := r.K.WaitResources(16, rig.Soon); err != nil {
		t.Fatal(err)
	}
	for _, p := range r.K.Plugins() {
		if len(p.List()) != 4 {
			t.Errorf("%s: %v", p.Resource, p.List())
		}
	}
}
