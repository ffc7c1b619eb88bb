// SPDX-License-Identifier: Apache-2.0

// Package control holds manifests with Sluice's names to KubeVirt's own code: the CRD's schema, the webhooks, and
// virt-controller, which makes the launcher pod that kubelet asks Sluice for. Every manifest below testdata, and below the
// directories in $MANIFESTS, goes through it.
package control

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	k8sv1 "k8s.io/api/core/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"
	v1 "kubevirt.io/api/core/v1"
	"kubevirt.io/client-go/log"
	"sigs.k8s.io/yaml"

	"kubevirt.io/kubevirt/pkg/testutils"
	"kubevirt.io/kubevirt/pkg/virt-api/webhooks/validating-webhook/admitters"
	virtconfig "kubevirt.io/kubevirt/pkg/virt-config"
	"kubevirt.io/kubevirt/pkg/virt-controller/services"
	"kubevirt.io/kubevirt/pkg/virt-operator/resource/generate/components"
	opwebhooks "kubevirt.io/kubevirt/pkg/virt-operator/webhooks"
)

const launcherImage = "launcher:test"

func TestMain(m *testing.M) {
	log.Log.SetIOWriter(io.Discard)
	os.Exit(m.Run())
}

// A manifest is one document of a YAML file.
type manifest struct {
	name, kind string
	text       []byte
}

// manifests are all documents of a directory.
func manifests(t *testing.T, dir string) []manifest {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dir, "*.yaml"))
	var all []manifest
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, document := range bytes.Split(text, []byte("\n---\n")) {
			var head metav1.TypeMeta
			if err := yaml.Unmarshal(document, &head); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			all = append(all, manifest{filepath.Base(file), head.Kind, document})
		}
	}
	if len(all) == 0 {
		t.Fatalf("no manifest in %s", dir)
	}
	return all
}

// dirs are where manifests come from.
func dirs() []string { return append([]string{"testdata"}, strings.Fields(os.Getenv("MANIFESTS"))...) }

// decode takes no key that KubeVirt's types do not have.
func decode(t *testing.T, text []byte, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict(text, into); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
}

// schemaSays is what an API server with KubeVirt's CRD has to say about a CR: what is wrong, and what it would drop.
func schemaSays(t *testing.T, text []byte) []string {
	t.Helper()
	crd, err := components.NewKubeVirtCrd()
	if err != nil {
		t.Fatal(err)
	}
	return schemaOf(t, crd, "v1", text)
}

func schemaOf(t *testing.T, crd *apiextensionsv1.CustomResourceDefinition, name string, text []byte) []string {
	t.Helper()
	var says []string
	seen := false
	for _, version := range crd.Spec.Versions {
		if version.Name != name {
			continue
		}
		seen = true
		var props apiextensions.JSONSchemaProps
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(version.Schema.OpenAPIV3Schema, &props, nil); err != nil {
			t.Fatal(err)
		}
		validator, _, err := validation.NewSchemaValidator(&props)
		if err != nil {
			t.Fatal(err)
		}
		structural, err := schema.NewStructural(&props)
		if err != nil {
			t.Fatal(err)
		}
		object := map[string]any{}
		if err := yaml.Unmarshal(text, &object); err != nil {
			return []string{err.Error()}
		}
		for _, e := range validation.ValidateCustomResource(nil, object, validator) {
			says = append(says, e.Error())
		}
		for _, path := range pruning.PruneWithOptions(object, structural, true, schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}) {
			says = append(says, path+" is unknown")
		}
	}
	if !seen {
		t.Fatalf("the CRD has no %s", name)
	}
	return says
}

// operatorSays is the webhook that sees a change of the CR.
func operatorSays(t *testing.T, text []byte) *admissionv1.AdmissionResponse {
	t.Helper()
	raw, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	old, err := json.Marshal(v1.KubeVirt{TypeMeta: metav1.TypeMeta{APIVersion: "kubevirt.io/v1", Kind: "KubeVirt"}})
	if err != nil {
		t.Fatal(err)
	}
	config, _, _ := testutils.NewFakeClusterConfigUsingKVConfig(&v1.KubeVirtConfiguration{})
	return opwebhooks.NewKubeVirtUpdateAdmitter(nil, config).Admit(context.Background(), &admissionv1.AdmissionReview{Request: &admissionv1.AdmissionRequest{
		Operation: admissionv1.Update,
		Resource:  metav1.GroupVersionResource{Group: "kubevirt.io", Version: "v1", Resource: "kubevirts"},
		Object:    runtime.RawExtension{Raw: raw}, OldObject: runtime.RawExtension{Raw: old}}})
}

// apiSays is the webhook that sees a new VM instance; empty = it lets it pass.
func apiSays(t *testing.T, kv *v1.KubeVirt, vmi *v1.VirtualMachineInstance) string {
	t.Helper()
	raw, err := json.Marshal(vmi)
	if err != nil {
		t.Fatal(err)
	}
	admitter := &admitters.VMICreateAdmitter{ClusterConfig: configOf(kv)}
	r := admitter.Admit(context.Background(), &admissionv1.AdmissionReview{Request: &admissionv1.AdmissionRequest{
		Resource: metav1.GroupVersionResource{Group: "kubevirt.io", Version: "v1", Resource: "virtualmachineinstances"},
		Object:   runtime.RawExtension{Raw: raw}}})
	if r.Allowed {
		return ""
	}
	return r.Result.Message
}

// launcherPod is virt-controller's part.
func launcherPod(kv *v1.KubeVirt, vmi *v1.VirtualMachineInstance) (*k8sv1.Pod, error) {
	store := func() cache.Store { return cache.NewStore(cache.MetaNamespaceKeyFunc) }
	service := services.NewTemplateService(launcherImage, 240, "/var/run/kubevirt", "/var/run/kubevirt-ephemeral-disks", "/var/run/kubevirt/container-disks",
		v1.HotplugDiskDir, "", store(), nil, configOf(kv), 107, "exporter:test", store(), store())
	vmi = vmi.DeepCopy()
	vmi.UID = "00000000-0000-0000-0000-000000000001"
	return service.RenderLaunchManifest(vmi)
}

func configOf(kv *v1.KubeVirt) *virtconfig.ClusterConfig {
	config, _, _ := testutils.NewFakeClusterConfigUsingKVConfig(kv.Spec.Configuration.DeepCopy())
	return config
}
