// SPDX-License-Identifier: Apache-2.0

//go:build k130 || k133

package kubelet

// ... and from gogo with other field names before.

import api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

func requestIDs(r *api.ContainerAllocateRequest) []string { return r.DevicesIDs }
func setCDI(r *api.ContainerAllocateResponse, name string) {
	r.CDIDevices = []*api.CDIDevice{{Name: name}}
}
