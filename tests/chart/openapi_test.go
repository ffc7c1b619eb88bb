// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"
)

// versions are the Kubernetes whose OpenAPI is looked at, by the module file of tests/kubelet that pins (and sums) each.
var versions = []struct{ version, modfile string }{
	{"1.30", "k130.mod"}, {"1.33", "k133.mod"}, {"1.34", "k134.mod"}, {"1.36", "go.mod"},
}

// api is the schemas of one version, by apiVersion and kind; read as they are asked for.
type api struct {
	dir     string
	schemas map[string]map[string]any // apiVersion: all schemas of its file
}

func openAPI(t *testing.T, modfile string) *api {
	t.Helper()
	dir := func() string {
		cmd := exec.Command("go", "list", "-m", "-modfile="+modfile, "-f", "{{.Dir}}", "k8s.io/kubernetes")
		cmd.Dir = root + "/tests/kubelet"
		out, _ := cmd.Output()
		return strings.TrimSpace(string(out))
	}
	if dir() == "" {
		cmd := exec.Command("go", "mod", "download", "-modfile="+modfile, "k8s.io/kubernetes")
		cmd.Dir = root + "/tests/kubelet"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Skipf("its module is not in the cache and cannot be fetched: %s", out)
		}
	}
	return &api{dir: filepath.Join(dir(), "api/openapi-spec/v3"), schemas: map[string]map[string]any{}}
}

func (a *api) load(apiVersion string) (map[string]any, error) {
	if s, ok := a.schemas[apiVersion]; ok {
		return s, nil
	}
	file := "api__" + apiVersion + "_openapi.json"
	if group, version, ok := strings.Cut(apiVersion, "/"); ok {
		file = "apis__" + group + "__" + version + "_openapi.json"
	}
	text, err := os.ReadFile(filepath.Join(a.dir, file))
	if err != nil {
		return nil, fmt.Errorf("this Kubernetes has no %s", apiVersion)
	}
	var spec map[string]any
	if err := json.Unmarshal(text, &spec); err != nil {
		return nil, err
	}
	s := mapOf(at(spec, "components.schemas"))
	a.schemas[apiVersion] = s
	return s, nil
}

// check is what is wrong with an object; an unknown key is wrong too, which an API server only says with --validate=strict.
func (a *api) check(o object) []string {
	apiVersion, _ := o["apiVersion"].(string)
	schemas, err := a.load(apiVersion)
	if err != nil {
		return []string{o.name() + ": " + err.Error()}
	}
	for _, schema := range schemas {
		kinds, _ := mapOf(schema)["x-kubernetes-group-version-kind"].([]any)
		for _, k := range kinds {
			group, _ := at(k, "group").(string)
			version, _ := at(k, "version").(string)
			if at(k, "kind") == o["kind"] && strings.TrimPrefix(group+"/"+version, "/") == apiVersion {
				// Through JSON, so that numbers have one type.
				var plain any
				text, _ := json.Marshal(o)
				_ = json.Unmarshal(text, &plain)
				return (&checker{schemas: schemas}).value(o.name(), plain, mapOf(schema))
			}
		}
	}
	return []string{fmt.Sprintf("%s: %s has no such kind", o.name(), apiVersion)}
}

// checker is as much of OpenAPI v3 as Kubernetes' own files use.
type checker struct{ schemas map[string]any }

func (c *checker) value(path string, v any, schema map[string]any) []string {
	if ref, ok := schema["$ref"].(string); ok {
		return c.value(path, v, mapOf(c.schemas[filepath.Base(ref)]))
	}
	if all, ok := schema["allOf"].([]any); ok && len(all) == 1 {
		return c.value(path, v, mapOf(all[0]))
	}
	if one, ok := schema["oneOf"].([]any); ok {
		for _, s := range one {
			if len(c.value(path, v, mapOf(s))) == 0 {
				return nil
			}
		}
		return []string{fmt.Sprintf("%s: %v is none of what it may be", path, v)}
	}
	switch schema["type"] {
	case "object":
		return c.object(path, v, schema)
	case "array":
		list, ok := v.([]any)
		if !ok {
			return []string{path + " is no list"}
		}
		var wrong []string
		for i, e := range list {
			wrong = append(wrong, c.value(fmt.Sprintf("%s[%d]", path, i), e, mapOf(schema["items"]))...)
		}
		return wrong
	case "string":
		s, ok := v.(string)
		if !ok {
			return []string{fmt.Sprintf("%s: %v is no text", path, v)}
		}
		if enum, ok := schema["enum"].([]any); ok && !contains(enum, s) {
			return []string{fmt.Sprintf("%s: %q is none of %v", path, s, enum)}
		}
	case "boolean":
		if _, ok := v.(bool); !ok {
			return []string{fmt.Sprintf("%s: %v is not true or false", path, v)}
		}
	case "integer", "number":
		n, ok := v.(float64)
		if !ok || schema["type"] == "integer" && n != float64(int64(n)) {
			return []string{fmt.Sprintf("%s: %v is no %s", path, v, schema["type"])}
		}
	}
	return nil
}

func (c *checker) object(path string, v any, schema map[string]any) []string {
	m, ok := v.(map[string]any)
	if !ok {
		return []string{path + " is no object"}
	}
	properties, more := mapOf(schema["properties"]), mapOf(schema["additionalProperties"])
	var wrong []string
	for key, below := range m {
		switch {
		case properties[key] != nil:
			wrong = append(wrong, c.value(path+"."+key, below, mapOf(properties[key]))...)
		case more != nil:
			wrong = append(wrong, c.value(path+"."+key, below, more)...)
		case len(properties) > 0:
			wrong = append(wrong, path+"."+key+" is unknown")
		}
	}
	required, _ := schema["required"].([]any)
	for _, key := range required {
		if _, ok := m[key.(string)]; !ok {
			wrong = append(wrong, fmt.Sprintf("%s.%v is missing", path, key))
		}
	}
	sort.Strings(wrong)
	return wrong
}

func contains(list []any, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

// Every row of the other tests, and every variant.
func TestEveryManifestIsOneOfKubernetes(t *testing.T) {
	for _, k := range versions {
		t.Run(k.version, func(t *testing.T) {
			a := openAPI(t, k.modfile)
			n := 0
			check := func(values string, apis ...string) {
				r, err := renderErr(values, "sluice", k.version+".0", apis...)
				if err != nil {
					t.Fatal(err)
				}
				for _, o := range r.objects {
					n++
					for _, wrong := range a.check(o) {
						t.Errorf("%q: %s", values, wrong)
					}
				}
			}
			for _, row := range rows {
				check(row.values, row.apis...)
			}
			for variant := range privileges {
				check("variant: " + variant)
			}
			if n < 50 {
				t.Errorf("only %d manifests", n)
			}
		})
	}
}

// The checker itself: what it must find.
func TestTheCheckerFindsWhatIsWrong(t *testing.T) {
	a := openAPI(t, "go.mod")
	for says, text := range map[string]string{
		"has no such kind":                     "apiVersion: v1\nkind: DaemonSet\nmetadata: {name: a}",
		"this Kubernetes has no":               "apiVersion: apps/v2\nkind: DaemonSet\nmetadata: {name: a}",
		"DaemonSet/a.spec.selector is missing": "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: a}\nspec: {template: {}}",
		"Pod/a.spec.hostNetworking is unknown": "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {hostNetworking: true, containers: [{name: a}]}",
		"is not true or false":                 "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {hostPID: \"yes\", containers: [{name: a}]}",
		"is no integer":                        "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {priority: 1.5, containers: [{name: a}]}",
		"is no text":                           "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: 1}]}",
		"is no list":                           "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: {name: a}}",
		"is none of what it may be":            "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, resources: {limits: {cpu: true}}}]}",
		"Pod/a.spec.containers[0].volumeMounts[0].mountPath is missing": "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, volumeMounts: [{name: b}]}]}",
	} {
		o, err := parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if wrong := strings.Join(a.check(o), "\n"); !strings.Contains(wrong, says) {
			t.Errorf("of %s it says %q, not %q", text, wrong, says)
		}
	}
}
