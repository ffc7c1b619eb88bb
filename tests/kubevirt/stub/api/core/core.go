// SPDX-License-Identifier: Apache-2.0

// Package core stands in for KubeVirt's template API, a module that is not served; no test comes near it.
package core

const (
	GroupName            = "template.kubevirt.io"
	SingularResourceName = "virtualmachinetemplate"
	PluralResourceName   = "virtualmachinetemplates"
)
