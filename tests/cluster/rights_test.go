// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// writable is docs/security.md's list: what a pod of each variant can write on the host, and of its own.
func writable(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(top, "docs/security.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, list, found := strings.Cut(string(text), "<!-- writable -->\n")
	if !found {
		t.Fatal("docs/security.md has no list of what can be written")
	}
	list, _, _ = strings.Cut(list, "<!-- end of writable -->")
	all := map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `?([a-zA-Z ]+)`? \\|(.*)\\|$").FindAllStringSubmatch(list, -1) {
		for _, path := range regexp.MustCompile("`(/[^`]*)`").FindAllStringSubmatch(row[2], -1) {
			all[row[1]] = append(all[row[1]], path[1])
		}
	}
	return all
}

// A program in the plugin's container, with the container's rights, asks the kernel what it could write: no more and no less than the
// document says. Without a captured host, so that the mounts are those of a node with GPUs.
func TestWhatEachVariantCanWriteIsWhatTheDocumentSays(t *testing.T) {
	documented := writable(t)
	release(t)
	t.Cleanup(func() { _ = os.Remove("/run/sluice/rights") })
	for _, variant := range []string{"readOnly", "passthroughBlind", "passthrough"} {
		t.Run(variant, func(t *testing.T) {
			before := daemonPod(t)
			helm(t, append([]string{"upgrade"}, chart("--set", "simulation.enabled=false", "--set", "variant="+variant, "--set", "modulesDir=/run/modules")...)...)
			rolled(t, before)
			// The one directory of the host that the container could execute a program from.
			program, err := os.ReadFile(filepath.Join(bin, "rights"))
			if err == nil {
				err = os.WriteFile("/run/sluice/rights", program, 0o700)
			}
			if err != nil {
				t.Fatal(err)
			}
			out := kubectl(t, "-n", namespace, "exec", "daemonset/sluice", "--", "/run/sluice/rights", "/host/dev/vda", "/host/dev/sda", "/host/dev/nvme0n1", "/host/dev/mem", "/host/dev/kvm", "/host/dev/kmsg")
			t.Log(out)
			var found []string
			for _, line := range strings.Split(out, "\n") {
				switch {
				case strings.HasPrefix(line, "write "):
					mount, _, _ := strings.Cut(strings.TrimPrefix(line, "write "), ":")
					found = append(found, strings.TrimPrefix(mount, "/host"))
				case strings.HasPrefix(line, "reach "):
					found = append(found, "/")
				default:
					t.Errorf("%s", line)
				}
			}
			want := append(slices.Clone(documented[variant]), documented["every pod"]...)
			slices.Sort(found)
			slices.Sort(want)
			if !slices.Equal(found, want) {
				t.Errorf("the pod can write below\n%s\nand docs/security.md says\n%s", strings.Join(found, "\n"), strings.Join(want, "\n"))
			}
		})
	}
	release(t)
}
