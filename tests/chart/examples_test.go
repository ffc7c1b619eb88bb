// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const examplesDir = root + "/deploy/examples"

// examples are the documents of the files that match, by file.
func examples(t *testing.T, pattern string) map[string][]object {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(examplesDir, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no file is %s, %v", pattern, err)
	}
	all := map[string][]object{}
	for _, file := range files {
		for _, d := range documents(read(t, file)) {
			o, err := parse(d)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			all[file] = append(all[file], o)
		}
	}
	return all
}

// KubeVirt's kinds go through KubeVirt's own code: test-kubevirt-control.
var elsewhere = map[string]bool{"kubevirt.io/v1": true, "instancetype.kubevirt.io/v1beta1": true}

func TestTheExamplesAreOfKubernetesAPI(t *testing.T) {
	for _, k := range versions {
		t.Run(k.version, func(t *testing.T) {
			a := openAPI(t, k.modfile)
			n := 0
			for file, objects := range examples(t, "*.yaml") {
				for _, o := range objects {
					if elsewhere[o["apiVersion"].(string)] {
						continue
					}
					n++
					for _, wrong := range a.check(o) {
						t.Errorf("%s: %s", file, wrong)
					}
				}
			}
			if n < 5 {
				t.Errorf("only %d documents", n)
			}
		})
	}
}

func TestTheExamplesByContractAreAsTheirProjectsSay(t *testing.T) {
	var contracts struct{ Kinds map[string]map[string]any }
	text, err := yaml.YAMLToJSON([]byte(read(t, "contracts.yaml")))
	if err == nil {
		err = json.Unmarshal(text, &contracts)
	}
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for file, objects := range examples(t, "by-contract/*.yaml") {
		if !strings.Contains(read(t, file), "# By contract: ") {
			t.Errorf("%s does not say that it is by contract", file)
		}
		for _, o := range objects {
			kind := o["apiVersion"].(string) + " " + o["kind"].(string)
			schema := contracts.Kinds[kind]
			if schema == nil {
				t.Errorf("%s: contracts.yaml has no %s", file, kind)
				continue
			}
			seen[kind] = true
			var value any
			_ = json.Unmarshal([]byte(asJSON(o)), &value)
			for _, wrong := range (&checker{}).value(o.name(), value, schema) {
				t.Errorf("%s: %s", file, wrong)
			}
		}
	}
	if len(seen) != len(contracts.Kinds) {
		t.Errorf("%d kinds of %d have an example", len(seen), len(contracts.Kinds))
	}
}

func TestTheExamplesOfValuesAreThoseOfTheChart(t *testing.T) {
	for file := range examples(t, "helm/*.yaml") {
		for _, k := range versions {
			a := openAPI(t, k.modfile)
			r, err := renderErr(read(t, file), "sluice", k.version+".0")
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			for _, o := range r.objects {
				for _, wrong := range a.check(o) {
					t.Errorf("%s: %s", file, wrong)
				}
			}
		}
	}
}

// A name that no captured host has is one that somebody made up.
func TestTheExamplesNameWhatSluiceOffers(t *testing.T) {
	offered := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^  pool (\S+): `).FindAllStringSubmatch(read(t, root+"/tests/fixtures/offers.txt"), -1) {
		offered[m[1]] = true
	}
	names := regexp.MustCompile(`\b(nvidia|amd|intel)\.com/[-_.A-Za-z0-9]*[A-Za-z0-9]`)
	n := 0
	for _, pattern := range []string{"*.yaml", "*/*.yaml"} {
		for file := range examples(t, pattern) {
			for _, name := range names.FindAllString(read(t, file), -1) {
				n++
				if !offered[name] && name != "nvidia.com/gpu" { // of the plugin inside a VM
					t.Errorf("%s: no captured host has %s", file, name)
				}
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d names", n)
	}
}

// Kubernetes takes max for a default that is not given (SetDefaults_LimitRangeItem): every container would ask for GPUs.
func TestALimitOfGPUsAsksForNone(t *testing.T) {
	n := 0
	for file, objects := range examples(t, "*.yaml") {
		for _, o := range objects {
			limits, _ := at(o, "spec.limits").([]any)
			for _, limit := range limits {
				for name := range mapOf(at(limit, "max")) {
					n++
					if mapOf(at(limit, "default"))[name] != "0" || mapOf(at(limit, "defaultRequest"))[name] != "0" {
						t.Errorf("%s: the default of %s is not 0", file, name)
					}
				}
			}
		}
	}
	if n == 0 {
		t.Error("no example limits anything")
	}
}

func TestEveryExampleIsInTheirList(t *testing.T) {
	page := read(t, examplesDir+"/README.md")
	for _, pattern := range []string{"*.yaml", "*/*.yaml"} {
		for file := range examples(t, pattern) {
			name, _ := filepath.Rel(examplesDir, file)
			if !strings.Contains(page, "]("+name+")") {
				t.Errorf("README.md does not list %s", name)
			}
		}
	}
}
