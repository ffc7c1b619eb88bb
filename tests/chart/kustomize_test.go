// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const kustomizeDir = root + "/deploy/kustomize"

// plain are the manifests that Helm would make of @values, without what is Helm's own.
func plain(t *testing.T, values string) []object {
	t.Helper()
	ch, err := loaded()
	if err != nil {
		t.Fatal(err)
	}
	r, err := renderErr("{namespaceOverride: sluice, namespace: {create: true}, "+values+"}", ch.Name(), "1.34.0")
	if err != nil {
		t.Fatal(err)
	}
	var all []object
	for _, o := range r.objects {
		if at(o, "metadata.annotations.helm|sh/hook") != nil {
			continue
		}
		labels := mapOf(at(o, "metadata.labels"))
		delete(labels, "helm.sh/chart")
		delete(labels, "app.kubernetes.io/managed-by")
		all = append(all, o)
	}
	return all
}

func build(t *testing.T, dir string) []object {
	t.Helper()
	m, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	text, err := m.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	var all []object
	for _, d := range documents(string(text)) {
		o, err := parse(d)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, o)
	}
	return all
}

// byName is a set of manifests as text; the order of volumes and their mounts means nothing.
func byName(objects []object) map[string]string {
	texts := map[string]string{}
	for _, o := range objects {
		for _, path := range []string{pod + "volumes", container + "volumeMounts"} {
			list, _ := at(o, path).([]any)
			sort.Slice(list, func(i, k int) bool { return asJSON(at(list[i], "name")) < asJSON(at(list[k], "name")) })
		}
		text, _ := yaml.Marshal(o)
		texts[o.name()] = string(text)
	}
	return texts
}

func TestTheKustomizationsBaseIsMadeFromTheChart(t *testing.T) {
	for _, o := range plain(t, "") {
		text, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		file := strings.ToLower(o["kind"].(string)) + ".yaml"
		compare(t, filepath.Join(kustomizeDir, "base", file), "# SPDX-License-Identifier: Apache-2.0\n# Made from charts/sluice by make chart-docs.\n"+string(text))
	}
}

func TestEachKustomizationIsAVariantOfTheChart(t *testing.T) {
	variants := map[string]string{"default": "", "read-only": "variant: readOnly", "passthrough": "variant: passthrough", "passthrough-blind": "variant: passthroughBlind"}
	entries, err := os.ReadDir(kustomizeDir + "/overlays")
	if err != nil || len(entries) != len(variants) {
		t.Fatalf("%d overlays, %v", len(entries), err)
	}
	for overlay, values := range variants {
		t.Run(overlay, func(t *testing.T) {
			have, want := byName(build(t, kustomizeDir+"/overlays/"+overlay)), byName(plain(t, values))
			if len(have) != len(want) {
				t.Errorf("%d manifests, the chart has %d", len(have), len(want))
			}
			for name, text := range want {
				if have[name] != text {
					t.Errorf("%s is\n%s, and from the chart\n%s", name, have[name], text)
				}
			}
		})
	}
}

// The overlay in the README is one.
func TestTheReadmesOverlayBuilds(t *testing.T) {
	_, after, _ := strings.Cut(read(t, kustomizeDir+"/README.md"), "```yaml\n")
	text, _, ok := strings.Cut(after, "```")
	if !ok {
		t.Fatal("there is none")
	}
	dir := t.TempDir()
	for _, part := range []string{"base", "overlays"} {
		if err := os.CopyFS(filepath.Join(dir, part), os.DirFS(filepath.Join(kustomizeDir, part))); err != nil {
			t.Fatal(err)
		}
	}
	mine := filepath.Join(dir, "overlays", "mine")
	if err := os.MkdirAll(mine, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(mine, "kustomization.yaml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, o := range build(t, mine) {
		switch o.name() {
		case "DaemonSet/sluice":
			seen++
			if have := at(o, container+"image"); have != "REGISTRY/sluice:"+version(t) {
				t.Errorf("its image is %v", have)
			}
		case "ConfigMap/sluice":
			seen++
			config := filepath.Join(dir, "config.yaml")
			if err := os.WriteFile(config, []byte(at(o, "data.config|yaml").(string)), 0o644); err != nil {
				t.Fatal(err)
			}
			if out, err := sluiced(t, "--config", config, "--check-config"); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		}
	}
	if seen != 2 {
		t.Errorf("%d of two", seen)
	}
}
