// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	cadvisor "github.com/google/cadvisor/info/v1"
	"google.golang.org/grpc"
	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
	pluginregapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
	podresapi "k8s.io/kubelet/pkg/apis/podresources/v1"
	"k8s.io/kubernetes/pkg/kubelet/apis/podresources"
	"k8s.io/kubernetes/pkg/kubelet/cm/devicemanager"
	"k8s.io/kubernetes/pkg/kubelet/cm/topologymanager"
	"k8s.io/kubernetes/pkg/kubelet/lifecycle"
	"k8s.io/kubernetes/pkg/kubelet/pluginmanager"
)

const (
	kubeletDir    = "/var/lib/kubelet"
	devicePlugins = kubeletDir + "/device-plugins"
	kubeletSocket = devicePlugins + "/kubelet.sock"
	registry      = kubeletDir + "/plugins_registry"
	podResSocket  = kubeletDir + "/pod-resources/kubelet.sock"
)

// kubelet is one kubelet life. Stop it and start another one for a restart.
type kubelet struct {
	devices  *devicemanager.ManagerImpl
	topology topologymanager.Manager
	pods     *podList
	stop     []func()   // in reverse order
	loop     sync.Mutex // kubelet admits one pod after the other
}

// startKubelet starts one on a machine with two NUMA nodes, under a policy of the topology manager.
func startKubelet(t *testing.T, pods *podList, policy string) *kubelet {
	t.Helper()
	k := &kubelet{pods: pods}
	numa := []cadvisor.Node{{Id: 0}, {Id: 1}}
	var err error
	if k.topology, err = topologymanager.NewManager(numa, policy, "container", nil); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{devicePlugins, registry, filepath.Dir(podResSocket)} {
		if err = os.MkdirAll(dir, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	if k.devices, err = devicemanager.NewManagerImpl(numa, k.topology); err != nil {
		t.Fatal(err)
	}
	addHintProvider(k.topology, k.devices)
	if err = startDeviceManager(k.devices, pods.GetActivePods); err != nil {
		t.Fatal(err)
	}
	k.stop = append(k.stop, func() { _ = stopDeviceManager(k.devices) })
	pm := pluginmanager.NewPluginManager(registry, record.NewFakeRecorder(100000))
	pm.AddHandler(pluginregapi.DevicePlugin, k.devices.GetWatcherHandler())
	k.stop = append(k.stop, runPluginManager(pm)) // must end before the device manager
	k.servePodResources(t)
	t.Cleanup(k.shutdown)
	return k
}

func (k *kubelet) servePodResources(t *testing.T) {
	_ = os.Remove(podResSocket)
	l, err := net.Listen("unix", podResSocket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(rateLimiter())
	podresapi.RegisterPodResourcesListerServer(s, newPodResources(podresources.PodResourcesProviders{
		Pods: k.pods, Devices: deviceInfo{k.devices}, Cpus: noCPUs{}, Memory: noMemory{}, DynamicResources: noClaims{},
	}))
	go func() { _ = s.Serve(l) }()
	k.stop = append(k.stop, s.Stop)
}

// shutdown leaves what a dead kubelet leaves: its checkpoint, and the sockets of the plugins.
func (k *kubelet) shutdown() {
	for i := len(k.stop) - 1; i >= 0; i-- {
		k.stop[i]()
	}
	k.stop = nil
}

// admit does what pod admission does: hints, then Allocate for each container. The pod must be among the active ones.
func (k *kubelet) admit(p *v1.Pod) lifecycle.PodAdmitResult {
	k.loop.Lock()
	defer k.loop.Unlock()
	return k.topology.Admit(&lifecycle.PodAdmitAttributes{Pod: p})
}

// count is what the node's status would say of a resource.
func (k *kubelet) count(resource string) (capacity, allocatable int64) {
	c, a, _ := k.devices.GetCapacity()
	cq, aq := c[v1.ResourceName(resource)], a[v1.ResourceName(resource)]
	return cq.Value(), aq.Value()
}

// assigned are the devices of one container, sorted.
func (k *kubelet) assigned(p *v1.Pod, container, resource string) []string {
	var ids []string
	for id := range k.devices.GetDevices(string(p.UID), container)[resource] {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// podList outlives the kubelet, as the API server's pods do.
type podList struct {
	mu    sync.Mutex
	pods  []*v1.Pod
	ended []*v1.Pod // of them
}

func (l *podList) add(p *v1.Pod) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pods = append(l.pods, p)
}

// remove is the end of a pod: kubelet sees that it is not active any more when it looks for a free device.
func (l *podList) remove(p *v1.Pod) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pods = slices.DeleteFunc(l.pods, func(q *v1.Pod) bool { return p == q })
	l.ended = slices.DeleteFunc(l.ended, func(q *v1.Pod) bool { return p == q })
}

// end is a pod that has succeeded or failed: the API server has it still.
func (l *podList) end(p *v1.Pod) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = append(l.ended, p)
}

func (l *podList) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pods, l.ended = nil, nil
}

func (l *podList) GetPods() []*v1.Pod {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.pods)
}

func (l *podList) GetActivePods() []*v1.Pod {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(l.pods), func(p *v1.Pod) bool { return slices.Contains(l.ended, p) })
}

func (l *podList) GetPodByName(namespace, name string) (*v1.Pod, bool) {
	for _, p := range l.GetPods() {
		if p.Namespace == namespace && p.Name == name {
			return p, true
		}
	}
	return nil, false
}

// ready says that kubelet has heard of all pods.
type ready struct{}

func (ready) AddSource(string) {}
func (ready) AllReady() bool   { return true }

// deviceInfo is what kubelet's container manager does between the device manager and podresources.
type deviceInfo struct{ m *devicemanager.ManagerImpl }

func (d deviceInfo) UpdateAllocatedDevices() { d.m.UpdateAllocatedDevices() }
func (d deviceInfo) GetDevices(uid, container string) []*podresapi.ContainerDevices {
	return containerDevices(d.m.GetDevices(uid, container))
}
func (d deviceInfo) GetAllocatableDevices() []*podresapi.ContainerDevices {
	return containerDevices(d.m.GetAllocatableDevices())
}

func containerDevices(all devicemanager.ResourceDeviceInstances) (out []*podresapi.ContainerDevices) {
	for resource, devices := range all {
		for id, device := range devices {
			if device.Topology == nil {
				out = append(out, &podresapi.ContainerDevices{ResourceName: resource, DeviceIds: []string{id}})
			}
			for _, n := range device.Topology.GetNodes() { // a device with several is there several times
				out = append(out, &podresapi.ContainerDevices{ResourceName: resource, DeviceIds: []string{id},
					Topology: &podresapi.TopologyInfo{Nodes: []*podresapi.NUMANode{{ID: n.ID}}}})
			}
		}
	}
	return out
}

type noCPUs struct{}

func (noCPUs) GetCPUs(string, string) []int64 { return nil }
func (noCPUs) GetAllocatableCPUs() []int64    { return nil }

type noMemory struct{}

func (noMemory) GetMemory(string, string) []*podresapi.ContainerMemory { return nil }
func (noMemory) GetAllocatableMemory() []*podresapi.ContainerMemory    { return nil }

type noClaims struct{}

func (noClaims) GetDynamicResources(*v1.Pod, *v1.Container) []*podresapi.DynamicResource { return nil }
