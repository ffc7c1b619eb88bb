// SPDX-License-Identifier: Apache-2.0

// Package chart renders the Helm chart, the kustomizations and the examples with Helm's and kustomize's own code and holds
// what comes out to the OpenAPI of several Kubernetes versions. UPDATE=1 writes what is generated: the table in the
// chart's README and the kustomizations' base.
package chart

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	helm "helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"sigs.k8s.io/yaml"
)

const (
	root     = "../.."
	chartDir = root + "/charts/sluice"
	nfd      = "nfd.k8s-sigs.io/v1alpha1"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // Helm's loader tells of each symbolic link
	os.Exit(m.Run())
}

var loaded = sync.OnceValues(func() (*helm.Chart, error) { return loader.LoadDir(chartDir) })

type object map[string]any

// rendered is what `helm install sluice charts/sluice -n gpus -f VALUES` would send.
type rendered struct {
	objects []object
	files   map[string]string // NOTES.txt and all else, by the template's path
}

func parse(text string) (object, error) {
	o := object{}
	return o, yaml.UnmarshalStrict([]byte(text), &o)
}

func documents(text string) []string {
	var all []string
	for _, d := range regexp.MustCompile(`(?m)^---$`).Split(text, -1) {
		if strings.TrimSpace(regexp.MustCompile(`(?m)^#.*$`).ReplaceAllString(d, "")) != "" {
			all = append(all, d)
		}
	}
	return all
}

func renderErr(values, release, kube string, apis ...string) (*rendered, error) {
	ch, err := loaded()
	if err != nil {
		return nil, err
	}
	given, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		return nil, err
	}
	caps := chartutil.DefaultCapabilities.Copy()
	caps.APIVersions = append(caps.APIVersions, apis...)
	caps.KubeVersion = chartutil.KubeVersion{Version: "v" + kube, Major: "1", Minor: strings.Split(kube, ".")[1]}
	all, err := chartutil.ToRenderValues(ch, given, chartutil.ReleaseOptions{Name: release, Namespace: "gpus", Revision: 1, IsInstall: true}, caps)
	if err != nil {
		return nil, err
	}
	files, err := engine.Render(ch, all)
	if err != nil {
		return nil, err
	}
	r := &rendered{files: files}
	for path, text := range files {
		if !strings.HasSuffix(path, ".yaml") {
			continue
		}
		for _, d := range documents(text) {
			o, err := parse(d)
			if err != nil {
				return nil, fmt.Errorf("%s: %w in\n%s", path, err, d)
			}
			r.objects = append(r.objects, o)
		}
	}
	return r, nil
}

func render(t *testing.T, values string, apis ...string) *rendered {
	t.Helper()
	r, err := renderErr(values, "sluice", "1.34.0", apis...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// notes are what Helm prints after an installation.
func (r *rendered) notes() string { return r.files["sluice/templates/NOTES.txt"] }

func (o object) name() string {
	meta, _ := o["metadata"].(map[string]any)
	return fmt.Sprintf("%v/%v", o["kind"], meta["name"])
}

// get is an object as "DaemonSet/sluice"; nil when it is not there.
func (r *rendered) get(name string) object {
	for _, o := range r.objects {
		if o.name() == name {
			return o
		}
	}
	return nil
}

// at is the value at a path such as "spec.template.spec.containers.0.args"; nil when there is none. A name in an element of a
// list is as good as its number.
func at(value any, path string) any {
	for _, step := range strings.Split(path, ".") {
		step = strings.ReplaceAll(step, "|", ".") // a dot of a key
		switch v := value.(type) {
		case object:
			value = v[step]
		case map[string]any:
			value = v[step]
		case []any:
			value = nil
			for i, e := range v {
				m, _ := e.(map[string]any)
				if fmt.Sprint(i) == step || m["name"] == step {
					value = e
					break
				}
			}
		default:
			return nil
		}
	}
	return value
}

func asJSON(value any) string {
	text, _ := json.Marshal(value)
	return string(text)
}

// sluiced runs the daemon's program, when there is one.
func sluiced(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.Command(filepath.Join(bin(t), "sluiced"), args...).CombinedOutput()
	return string(out), err
}

func bin(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("SLUICE_BIN")
	if dir == "" {
		t.Skip("SLUICE_BIN is not set")
	}
	return dir
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// compare holds a generated file to what it should be, or writes it.
func compare(t *testing.T, path, want string) {
	t.Helper()
	if os.Getenv("UPDATE") == "1" {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if have := read(t, path); have != want {
		t.Errorf("%s is not as generated (make chart-docs writes it); want\n%s", path, want)
	}
}
