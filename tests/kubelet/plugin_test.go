// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	reg "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// goPlugin is the control: a plugin on grpc-go which uses every field of the API.
type goPlugin struct {
	api.UnimplementedDevicePluginServer
	reg.UnimplementedRegistrationServer
	resource, socket string
	devices          []*api.Device
	server           *grpc.Server
	quit             chan struct{}
	allocates        atomic.Int32
	preStarts        atomic.Int32
	notified         chan *reg.RegistrationStatus
}

func newGoPlugin(resource, socket string, devices int) *goPlugin {
	p := &goPlugin{resource: resource, socket: socket, quit: make(chan struct{}), notified: make(chan *reg.RegistrationStatus, 16)}
	for i := range devices {
		p.devices = append(p.devices, &api.Device{ID: string(rune('a' + i)), Health: api.Healthy,
			Topology: &api.TopologyInfo{Nodes: []*api.NUMANode{{ID: int64(i & 1)}}}})
	}
	return p
}

func (p *goPlugin) serve(t *testing.T) {
	t.Helper()
	l, err := net.Listen("unix", p.socket)
	if err != nil {
		t.Fatal(err)
	}
	p.server = grpc.NewServer()
	api.RegisterDevicePluginServer(p.server, p)
	reg.RegisterRegistrationServer(p.server, p)
	go func() { _ = p.server.Serve(l) }()
	t.Cleanup(p.stop)
}

func (p *goPlugin) stop() {
	if p.server != nil {
		p.server.Stop()
		p.server = nil
	}
}

// register is path A, over the kubelet's own socket.
func (p *goPlugin) register(t *testing.T) error {
	_, err := api.NewRegistrationClient(dial(t, kubeletSocket)).Register(soonContext(t), &api.RegisterRequest{
		Version: api.Version, Endpoint: filepath.Base(p.socket), ResourceName: p.resource})
	return err
}

// GetInfo and NotifyRegistrationStatus are path B, the plugin watcher.
func (p *goPlugin) GetInfo(context.Context, *reg.InfoRequest) (*reg.PluginInfo, error) {
	return &reg.PluginInfo{Type: reg.DevicePlugin, Name: p.resource, Endpoint: p.socket, SupportedVersions: []string{api.Version}}, nil
}
func (p *goPlugin) NotifyRegistrationStatus(_ context.Context, s *reg.RegistrationStatus) (*reg.RegistrationStatusResponse, error) {
	p.notified <- s
	return &reg.RegistrationStatusResponse{}, nil
}

func (p *goPlugin) GetDevicePluginOptions(context.Context, *api.Empty) (*api.DevicePluginOptions, error) {
	return &api.DevicePluginOptions{PreStartRequired: true, GetPreferredAllocationAvailable: true}, nil
}
func (p *goPlugin) ListAndWatch(_ *api.Empty, s api.DevicePlugin_ListAndWatchServer) error {
	if err := s.Send(&api.ListAndWatchResponse{Devices: p.devices}); err != nil {
		return err
	}
	<-s.Context().Done()
	return nil
}
func (p *goPlugin) GetPreferredAllocation(_ context.Context, r *api.PreferredAllocationRequest) (*api.PreferredAllocationResponse, error) {
	out := &api.PreferredAllocationResponse{}
	for _, c := range r.ContainerRequests {
		out.ContainerResponses = append(out.ContainerResponses, &api.ContainerPreferredAllocationResponse{
			DeviceIDs: c.AvailableDeviceIDs[:c.AllocationSize]})
	}
	return out, nil
}
func (p *goPlugin) PreStartContainer(context.Context, *api.PreStartContainerRequest) (*api.PreStartContainerResponse, error) {
	p.preStarts.Add(1)
	return &api.PreStartContainerResponse{}, nil
}
func (p *goPlugin) Allocate(_ context.Context, r *api.AllocateRequest) (*api.AllocateResponse, error) {
	p.allocates.Add(1)
	out := &api.AllocateResponse{}
	for _, c := range r.ContainerRequests {
		a := &api.ContainerAllocateResponse{
			Envs:        map[string]string{"IDS": strings.Join(requestIDs(c), ",")},
			Annotations: map[string]string{"note": "x"},
			Mounts:      []*api.Mount{{ContainerPath: "/c", HostPath: "/h", ReadOnly: true}},
			Devices:     []*api.DeviceSpec{{ContainerPath: "/dev/c", HostPath: "/dev/h", Permissions: "rw"}},
		}
		setCDI(a, "vendor.com/gpu=0")
		out.ContainerResponses = append(out.ContainerResponses, a)
	}
	return out, nil
}
