// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	reg "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// actor is a device plugin that plays a row of the truth table: it does what the row says and notes what it is asked.
type actor struct {
	api.UnimplementedDevicePluginServer
	reg.UnimplementedRegistrationServer
	t                *testing.T
	dir              string // kubelet's root
	resource, socket string
	server           *grpc.Server

	mu       sync.Mutex
	calls    []string // in the order they came
	list     any      // what ListAndWatch sends: *api.ListAndWatchResponse, or bytes
	change   chan struct{}
	streams  int
	options  func() error
	allocate func(ids []string) (*api.AllocateResponse, error)
	prefer   func(available, must []string, size int) ([]string, error)
	preStart func() error
	notify   func(*reg.RegistrationStatus) error
	info     *reg.PluginInfo
}

func newActor(t *testing.T, dir, resource, socket string, devices ...string) *actor {
	a := &actor{t: t, dir: dir, resource: resource, socket: socket, change: make(chan struct{})}
	a.list = healthy(devices...)
	l, err := net.Listen("unix", filepath.Join(dir, "device-plugins", socket))
	if err != nil {
		t.Fatal(err)
	}
	a.serve(l)
	return a
}

func (a *actor) serve(listeners ...net.Listener) {
	server := grpc.NewServer(grpc.ForceServerCodec(bytesToo{}), grpc.MaxSendMsgSize(64<<20))
	api.RegisterDevicePluginServer(server, a)
	reg.RegisterRegistrationServer(server, a)
	for _, l := range listeners {
		go func() { _ = server.Serve(l) }()
	}
	a.server = server
	a.t.Cleanup(server.Stop)
}

func healthy(ids ...string) *api.ListAndWatchResponse {
	m := &api.ListAndWatchResponse{}
	for _, id := range ids {
		m.Devices = append(m.Devices, &api.Device{ID: id, Health: api.Healthy})
	}
	return m
}

// bytesToo lets a handler send bytes that no marshaller would write.
type bytesToo struct{}

func (bytesToo) Name() string { return "proto" }
func (bytesToo) Marshal(v any) ([]byte, error) {
	switch m := v.(type) {
	case []byte:
		return m, nil
	case interface{ Marshal() ([]byte, error) }: // gogo
		return m.Marshal()
	}
	return proto.Marshal(v.(proto.Message))
}
func (bytesToo) Unmarshal(b []byte, v any) error {
	if m, ok := v.(interface{ Unmarshal([]byte) error }); ok {
		return m.Unmarshal(b)
	}
	return proto.Unmarshal(b, v.(proto.Message))
}

// register calls Register with a deadline; the answer as a sentence.
func (a *actor) register(deadline time.Duration) string {
	return a.registerAs(&api.RegisterRequest{Version: api.Version, Endpoint: a.socket, ResourceName: a.resource}, deadline)
}

func (a *actor) registerAs(rq *api.RegisterRequest, deadline time.Duration) string {
	c, err := grpc.Dial("unix://"+filepath.Join(a.dir, "device-plugins/kubelet.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	_, err = api.NewRegistrationClient(c).Register(ctx, rq)
	return a.said(err)
}

func (a *actor) said(err error) string {
	if err == nil {
		return "OK"
	}
	s := status.Convert(err)
	if s.Code() == codes.DeadlineExceeded {
		return "DeadlineExceeded" // whose sentence arrives is a matter of luck
	}
	return fmt.Sprintf("%s: %s", s.Code(), strings.ReplaceAll(s.Message(), a.dir, "DIR"))
}

func (a *actor) note(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls = append(a.calls, fmt.Sprintf(format, args...))
}

// called counts the calls that begin with a word.
func (a *actor) called(word string) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range a.calls {
		if strings.HasPrefix(c, word) {
			n++
		}
	}
	return n
}

func (a *actor) log() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return strings.Join(a.calls, "; ")
}

func (a *actor) open() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.streams
}

// send replaces the list; nil ends the streams.
func (a *actor) send(list any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = list
	close(a.change)
	a.change = make(chan struct{})
}

func (a *actor) authority(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	name := strings.Join(md.Get(":authority"), ",")
	name = strings.ReplaceAll(name, a.dir, "DIR")
	return strings.ReplaceAll(name, strings.ReplaceAll(a.dir, "/", "%2F"), "%DIR")
}

// left is the rest of a call's time, in steps that a slow machine does not blur.
func left(ctx context.Context) string {
	until, ok := ctx.Deadline()
	if !ok {
		return "no deadline"
	}
	d := time.Until(until)
	for _, step := range []time.Duration{time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second, time.Minute} {
		if d <= step+step/20 { // the wire rounds up
			return "at most " + step.String()
		}
	}
	return "more than a minute"
}

func (a *actor) GetDevicePluginOptions(ctx context.Context, _ *api.Empty) (*api.DevicePluginOptions, error) {
	a.note("options as %s", a.authority(ctx))
	if a.options != nil {
		if err := a.options(); err != nil {
			return nil, err
		}
	}
	return &api.DevicePluginOptions{PreStartRequired: true, GetPreferredAllocationAvailable: a.prefer != nil}, nil
}

func (a *actor) ListAndWatch(_ *api.Empty, s api.DevicePlugin_ListAndWatchServer) error {
	a.note("list")
	a.mu.Lock()
	a.streams++
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.streams--
		a.mu.Unlock()
	}()
	for {
		a.mu.Lock()
		list, change := a.list, a.change
		a.mu.Unlock()
		if list == nil {
			return nil
		}
		if err := s.SendMsg(list); err != nil {
			return err
		}
		select {
		case <-change:
		case <-s.Context().Done():
			return nil
		}
	}
}

func (a *actor) GetPreferredAllocation(ctx context.Context, r *api.PreferredAllocationRequest) (*api.PreferredAllocationResponse, error) {
	c := r.ContainerRequests[0]
	a.note("prefer %d of %d with %d, %d containers, %s", c.AllocationSize, len(c.AvailableDeviceIDs), len(c.MustIncludeDeviceIDs),
		len(r.ContainerRequests), left(ctx))
	ids, err := a.prefer(c.AvailableDeviceIDs, c.MustIncludeDeviceIDs, int(c.AllocationSize))
	return &api.PreferredAllocationResponse{ContainerResponses: []*api.ContainerPreferredAllocationResponse{{DeviceIDs: ids}}}, err
}

func (a *actor) Allocate(ctx context.Context, r *api.AllocateRequest) (*api.AllocateResponse, error) {
	ids := requestIDs(r.ContainerRequests[0])
	slices.Sort(ids)
	a.note("allocate %d, %d containers, %s", len(ids), len(r.ContainerRequests), left(ctx))
	if a.allocate != nil {
		return a.allocate(ids)
	}
	return granted(ids), nil
}

func granted(ids []string) *api.AllocateResponse {
	return &api.AllocateResponse{ContainerResponses: []*api.ContainerAllocateResponse{{Envs: map[string]string{"IDS": strings.Join(ids, ",")}}}}
}

func (a *actor) PreStartContainer(ctx context.Context, r *api.PreStartContainerRequest) (*api.PreStartContainerResponse, error) {
	a.note("start, %s", left(ctx))
	if a.preStart != nil {
		if err := a.preStart(); err != nil {
			return nil, err
		}
	}
	return &api.PreStartContainerResponse{}, nil
}

func (a *actor) GetInfo(ctx context.Context, _ *reg.InfoRequest) (*reg.PluginInfo, error) {
	a.note("info as %s, %s", a.authority(ctx), left(ctx))
	return a.info, nil
}

func (a *actor) NotifyRegistrationStatus(ctx context.Context, s *reg.RegistrationStatus) (*reg.RegistrationStatusResponse, error) {
	a.note("notify %t %q, %s", s.PluginRegistered, strings.ReplaceAll(s.Error, a.dir, "DIR"), left(ctx))
	if a.notify != nil {
		if err := a.notify(s); err != nil {
			return nil, err
		}
	}
	return &reg.RegistrationStatusResponse{}, nil
}

// newWatchedActor is a plugin for the plugin watcher, before its sockets are there; the service's is below plugins/.
func newWatchedActor(t *testing.T, dir, resource string, devices ...string) *actor {
	a := &actor{t: t, dir: dir, resource: resource, change: make(chan struct{}), list: healthy(devices...)}
	service := filepath.Join(dir, "plugins/actor/service.sock")
	a.socket = filepath.Join(dir, "plugins_registry/actor-reg.sock")
	a.info = &reg.PluginInfo{Type: reg.DevicePlugin, Name: resource, Endpoint: service, SupportedVersions: []string{api.Version}}
	if err := os.MkdirAll(filepath.Dir(service), 0o750); err != nil {
		t.Fatal(err)
	}
	return a
}

// appear opens the service's socket, then the registration socket.
func (a *actor) appear(service string) {
	var listeners []net.Listener
	for _, path := range []string{service, a.socket} {
		_ = os.Remove(path)
		l, err := net.Listen("unix", path)
		if err != nil {
			a.t.Fatal(err)
		}
		listeners = append(listeners, l)
	}
	a.serve(listeners...)
}
