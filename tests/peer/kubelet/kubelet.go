// SPDX-License-Identifier: Apache-2.0

// Package kubelet is a stand-in for kubelet's side of the device plugin API on grpc-go: the implementation and the dial
// options that kubelet uses, and nothing of the project's own transport.
package kubelet

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	dp "sluice.dev/sluice/tests/peer/api/deviceplugin"
)

const (
	dialTimeout = 10 * time.Second
	service     = "/v1beta1.DevicePlugin/"
)

// Plugin is a registered device plugin and the last list that it sent.
type Plugin struct {
	Resource, Endpoint string
	Options            *dp.DevicePluginOptions
	Conn               *grpc.ClientConn

	kubelet *Kubelet
	cancel  context.CancelFunc
	ended   chan struct{}
	list    []*dp.Device
	lists   int
}

// Kubelet serves Registration on <dir>/device-plugins/kubelet.sock.
type Kubelet struct {
	dir     string
	mu      sync.Mutex
	changed chan struct{} // closed and replaced at every change
	server  *grpc.Server
	plugins map[string]*Plugin
	// Refuse, when set, is asked before a registration is looked at.
	Refuse    func(resource string) error
	registers int
}

func Start(dir string) (*Kubelet, error) {
	k := &Kubelet{dir: dir, changed: make(chan struct{}), plugins: map[string]*Plugin{}}
	for _, name := range []string{"device-plugins", "plugins_registry"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o750); err != nil {
			return nil, err
		}
	}
	return k, k.up()
}

func (k *Kubelet) up() error {
	path := filepath.Join(k.dir, "device-plugins", "kubelet.sock")
	_ = os.Remove(path)
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	k.server = grpc.NewServer()
	k.server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "v1beta1.Registration",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Register", Handler: registerHandler}},
	}, k)
	go func() { _ = k.server.Serve(listener) }()
	return nil
}

// Stop ends kubelet as the death of its process would.
func (k *Kubelet) Stop() {
	k.server.Stop()
	k.mu.Lock()
	plugins := k.plugins
	k.plugins = map[string]*Plugin{}
	k.mu.Unlock()
	for _, p := range plugins {
		p.cancel()
		_ = p.Conn.Close()
		<-p.ended
	}
}

// Restart is Stop, the wipe of all sockets, and a new life.
func (k *Kubelet) Restart() error {
	k.Stop()
	sockets, _ := filepath.Glob(filepath.Join(k.dir, "device-plugins", "*.sock"))
	for _, s := range sockets {
		_ = os.Remove(s)
	}
	return k.up()
}

func registerHandler(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	rq := &dp.RegisterRequest{}
	if err := decode(rq); err != nil {
		return nil, err
	}
	if err := srv.(*Kubelet).register(rq); err != nil {
		return nil, err
	}
	return &dp.Empty{}, nil
}

// Dial is kubelet's own dial: blocking, no TLS, authority localhost.
func Dial(path string) (*grpc.ClientConn, error) {
	return dial(path, grpc.WithAuthority("localhost"))
}

// DialWatcher is the plugin watcher's: without an authority, so that the percent-encoded path is sent.
func DialWatcher(path string) (*grpc.ClientConn, error) {
	return dial(path)
}

func dial(path string, options ...grpc.DialOption) (*grpc.ClientConn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithBlock(), //nolint:staticcheck // as kubelet does
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", addr)
		}))
	return grpc.DialContext(ctx, path, options...) //nolint:staticcheck // as kubelet does
}

func (k *Kubelet) register(rq *dp.RegisterRequest) error {
	k.mu.Lock()
	k.registers++
	refuse := k.Refuse
	k.notify()
	k.mu.Unlock()
	if refuse != nil {
		if err := refuse(rq.ResourceName); err != nil {
			return err
		}
	}
	if rq.Version != "v1beta1" {
		return fmt.Errorf("requested API version %q is not supported by kubelet. Supported version is [\"v1beta1\"]", rq.Version)
	}
	return k.Connect(rq.ResourceName, filepath.Join(k.dir, "device-plugins", rq.Endpoint))
}

// Connect dials a plugin, asks its options and opens ListAndWatch.
func (k *Kubelet) Connect(resource, endpoint string) error {
	conn, err := Dial(endpoint)
	if err != nil {
		return fmt.Errorf("failed to dial device plugin: %w", err)
	}
	p := &Plugin{Resource: resource, Endpoint: endpoint, Options: &dp.DevicePluginOptions{}, Conn: conn, kubelet: k, ended: make(chan struct{})}
	if err := conn.Invoke(context.Background(), service+"GetDevicePluginOptions", &dp.Empty{}, p.Options); err != nil {
		_ = conn.Close()
		return fmt.Errorf("failed to get device plugin options: %w", err)
	}
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(context.Background())
	k.mu.Lock()
	k.plugins[resource] = p
	k.notify()
	k.mu.Unlock()
	go p.watch(ctx)
	return nil
}

func (p *Plugin) watch(ctx context.Context) {
	defer close(p.ended)
	defer p.gone()
	stream, err := p.Conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, service+"ListAndWatch")
	if err != nil || stream.SendMsg(&dp.Empty{}) != nil || stream.CloseSend() != nil {
		return
	}
	for {
		m := &dp.ListAndWatchResponse{}
		if stream.RecvMsg(m) != nil {
			return
		}
		p.kubelet.mu.Lock()
		p.list = m.Devices
		p.lists++
		p.kubelet.notify()
		p.kubelet.mu.Unlock()
	}
}

// The end of the stream is the end of the plugin: kubelet never asks again.
func (p *Plugin) gone() {
	k := p.kubelet
	k.mu.Lock()
	if k.plugins[p.Resource] == p {
		delete(k.plugins, p.Resource)
	}
	k.notify()
	k.mu.Unlock()
	_ = p.Conn.Close()
}

// CancelWatch ends the stream from kubelet's side.
func (p *Plugin) CancelWatch() { p.cancel() }

func (k *Kubelet) notify() {
	close(k.changed)
	k.changed = make(chan struct{})
}

// Wait returns the plugin of resource once @want holds for its last list.
func (k *Kubelet) Wait(resource string, timeout time.Duration, want func(list []*dp.Device) bool) (*Plugin, error) {
	deadline := time.After(timeout)
	for {
		k.mu.Lock()
		p, changed := k.plugins[resource], k.changed
		ok := p != nil && p.lists > 0 && want(p.list)
		k.mu.Unlock()
		if ok {
			return p, nil
		}
		select {
		case <-changed:
		case <-deadline:
			return nil, fmt.Errorf("%s: not so within %v", resource, timeout)
		}
	}
}

// WaitHealthy waits for @n healthy devices.
func (k *Kubelet) WaitHealthy(resource string, n int, timeout time.Duration) (*Plugin, error) {
	return k.Wait(resource, timeout, func(list []*dp.Device) bool { return Healthy(list) == n })
}

// WaitResources waits until @n plugins have sent a list.
func (k *Kubelet) WaitResources(n int, timeout time.Duration) error {
	deadline := time.After(timeout)
	for {
		k.mu.Lock()
		got, changed := 0, k.changed
		for _, p := range k.plugins {
			if p.lists > 0 {
				got++
			}
		}
		k.mu.Unlock()
		if got == n {
			return nil
		}
		select {
		case <-changed:
		case <-deadline:
			return fmt.Errorf("%d of %d resources within %v", got, n, timeout)
		}
	}
}

func Healthy(list []*dp.Device) int {
	n := 0
	for _, d := range list {
		if d.Health == "Healthy" {
			n++
		}
	}
	return n
}

// List is the last list of the plugin; Lists counts the messages.
func (p *Plugin) List() []*dp.Device {
	p.kubelet.mu.Lock()
	defer p.kubelet.mu.Unlock()
	return p.list
}

func (p *Plugin) Lists() int {
	p.kubelet.mu.Lock()
	defer p.kubelet.mu.Unlock()
	return p.lists
}

// Plugins are those registered now; Registers counts the calls that arrived.
func (k *Kubelet) Plugins() []*Plugin {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []*Plugin
	for _, p := range k.plugins {
		all = append(all, p)
	}
	return all
}

func (k *Kubelet) Registers() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.registers
}

// Allocate is one container's request.
func (p *Plugin) Allocate(ctx context.Context, ids ...string) (*dp.AllocateResponse, error) {
	rs := &dp.AllocateResponse{}
	rq := &dp.AllocateRequest{ContainerRequests: []*dp.ContainerAllocateRequest{{DevicesIds: ids}}}
	return rs, p.Conn.Invoke(ctx, service+"Allocate", rq, rs)
}

func (p *Plugin) PreStart(ctx context.Context, ids ...string) error {
	return p.Conn.Invoke(ctx, service+"PreStartContainer", &dp.PreStartContainerRequest{DevicesIds: ids}, &dp.PreStartContainerResponse{})
}

func (p *Plugin) Preferred(ctx context.Context, available, must []string, size int32) ([]string, error) {
	rs := &dp.PreferredAllocationResponse{}
	rq := &dp.PreferredAllocationRequest{ContainerRequests: []*dp.ContainerPreferredAllocationRequest{
		{AvailableDeviceIDs: available, MustIncludeDeviceIDs: must, AllocationSize: size}}}
	if err := p.Conn.Invoke(ctx, service+"GetPreferredAllocation", rq, rs); err != nil {
		return nil, err
	}
	if len(rs.ContainerResponses) != 1 {
		return nil, fmt.Errorf("%d container responses", len(rs.ContainerResponses))
	}
	return rs.ContainerResponses[0].DeviceIDs, nil
}
