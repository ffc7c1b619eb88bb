// SPDX-License-Identifier: Apache-2.0

package kubelet

import "testing"

func TestOneResourceRegisters(t *testing.T) {
	n := startNode(t, "l40s-8-vfio", noRules)
	n.has(l40s, 8, 8)
}
