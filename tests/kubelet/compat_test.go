// SPDX-License-Identifier: Apache-2.0

package kubelet

// One source for all of kubelet's versions: where a signature changed, the value is asked for the one it has. Names and fields
// that only some versions have need a build tag (dp_*_test.go).

import (
	"context"

	"google.golang.org/grpc"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/klog/v2"
	podresapi "k8s.io/kubelet/pkg/apis/podresources/v1"
	limits "k8s.io/kubernetes/pkg/kubelet/apis/grpc"
	"k8s.io/kubernetes/pkg/kubelet/apis/podresources"
	"k8s.io/kubernetes/pkg/kubelet/cm/containermap"
	"k8s.io/kubernetes/pkg/kubelet/cm/devicemanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
	"k8s.io/kubernetes/pkg/kubelet/config"
	"k8s.io/kubernetes/pkg/kubelet/pluginmanager"
)

func startDeviceManager(m *devicemanager.ManagerImpl, active devicemanager.ActivePodsFunc) error {
	containers, running := containermap.NewContainerMap(), sets.New[string]()
	switch m := any(m).(type) {
	case interface { // since 1.35
		Start(klog.Logger, devicemanager.ActivePodsFunc, config.SourcesReady, containermap.ContainerMap, sets.Set[string]) error
	}:
		return m.Start(klog.Background(), active, ready{}, containers, running)
	case interface {
		Start(devicemanager.ActivePodsFunc, config.SourcesReady, containermap.ContainerMap, sets.Set[string]) error
	}:
		return m.Start(active, ready{}, containers, running)
	}
	panic("devicemanager Start has a new signature")
}

func stopDeviceManager(m *devicemanager.ManagerImpl) error {
	switch m := any(m).(type) {
	case interface{ Stop(klog.Logger) error }:
		return m.Stop(klog.Background())
	case interface{ Stop() error }:
		return m.Stop()
	}
	panic("devicemanager Stop has a new signature")
}

func runOptions(m *devicemanager.ManagerImpl, p *v1.Pod, c *v1.Container) (*devicemanager.DeviceRunContainerOptions, error) {
	switch m := any(m).(type) {
	case interface {
		GetDeviceRunContainerOptions(context.Context, *v1.Pod, *v1.Container) (*devicemanager.DeviceRunContainerOptions, error)
	}:
		return m.GetDeviceRunContainerOptions(context.Background(), p, c)
	case interface {
		GetDeviceRunContainerOptions(*v1.Pod, *v1.Container) (*devicemanager.DeviceRunContainerOptions, error)
	}:
		return m.GetDeviceRunContainerOptions(p, c)
	}
	panic("GetDeviceRunContainerOptions has a new signature")
}

func addHintProvider(tm topologymanager.Manager, h topologymanager.HintProvider) {
	switch tm := any(tm).(type) {
	case interface {
		AddHintProvider(klog.Logger, topologymanager.HintProvider)
	}:
		tm.AddHintProvider(klog.Background(), h)
	case interface {
		AddHintProvider(topologymanager.HintProvider)
	}:
		tm.AddHintProvider(h)
	default:
		panic("AddHintProvider has a new signature")
	}
}

func runPluginManager(pm pluginmanager.PluginManager) (stop func()) {
	ch, done := make(chan struct{}), make(chan struct{})
	switch pm := any(pm).(type) {
	case interface {
		Run(context.Context, config.SourcesReady, <-chan struct{})
	}:
		go func() { pm.Run(context.Background(), ready{}, ch); close(done) }()
	case interface {
		Run(config.SourcesReady, <-chan struct{})
	}:
		go func() { pm.Run(ready{}, ch); close(done) }()
	default:
		panic("pluginmanager Run has a new signature")
	}
	return func() { close(ch); <-done }
}

func newPodResources(p podresources.PodResourcesProviders) podresapi.PodResourcesListerServer {
	switch f := any(podresources.NewV1PodResourcesServer).(type) {
	case func(context.Context, podresources.PodResourcesProviders) podresapi.PodResourcesListerServer:
		return f(context.Background(), p)
	case func(podresources.PodResourcesProviders) podresapi.PodResourcesListerServer:
		return f(p)
	}
	panic("NewV1PodResourcesServer has a new signature")
}

func rateLimiter() grpc.ServerOption {
	const name, qps, burst = "podresources", podresources.DefaultQPS, podresources.DefaultBurstTokens
	switch f := any(limits.WithRateLimiter).(type) {
	case func(context.Context, string, int32, int32) grpc.ServerOption:
		return f(context.Background(), name, qps, burst)
	case func(string, int32, int32) grpc.ServerOption:
		return f(name, qps, burst)
	}
	panic("WithRateLimiter has a new signature")
}
