// SPDX-License-Identifier: Apache-2.0

//go:build !k130 && !k133

package kubelet

// Device plugin API types come from protoc-gen-go since 1.34.

import api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

func requestIDs(r *api.ContainerAllocateRequest) []string { return r.DevicesIds }
func setCDI(r *api.ContainerAllocateResponse, name string) {
	r.CdiDevices = []*api.CDIDevice{{Name: name}}
}
