// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	"sigs.k8s.io/yaml"
)

// What `helm lint --strict` says: no warning either.
func TestHelmLintIsContent(t *testing.T) {
	result := lint.All(chartDir, map[string]any{}, "gpus", true)
	for _, m := range result.Messages {
		if m.Severity > support.InfoSev || !strings.Contains(m.Err.Error(), "icon is recommended") {
			t.Error(m)
		}
	}
}

func TestTheChartHasTheVersionOfTheProgram(t *testing.T) {
	ch, err := loaded()
	if err != nil {
		t.Fatal(err)
	}
	if want := version(t); ch.Metadata.Version != want || ch.Metadata.AppVersion != want {
		t.Errorf("Chart.yaml says %s and %s, VERSION %s", ch.Metadata.Version, ch.Metadata.AppVersion, want)
	}
}

func version(t *testing.T) string { return strings.TrimSpace(read(t, root+"/VERSION")) }

// pod is where most of what matters is.
const (
	pod       = "spec.template.spec."
	container = pod + "containers.sluiced."
)

type expectation struct{ object, path, want string } // want: JSON; "null" = not there

const groups = `
nodeSelector: {gpu: any}
config: {inline: {rules: [{resource: example.com/all}]}}
nodeGroups:
  - {name: train, nodeSelector: {gpu: h100}, variant: passthrough, config: {inline: {rules: [{bind: at-start}]}}, resources: {limits: {memory: 99Mi}}}
  - {name: rest, config: {onChange: roll}, distribution: k0s, priorityClassName: low}
  - {name: own, config: {existingConfigMap: theirs}, simulation: {enabled: true, builtin: l40s-8}}
`

var rows = []struct {
	name, values string
	apis         []string
	want         []expectation
}{
	{name: "nothing set", want: []expectation{
		{"DaemonSet/sluice", "metadata.namespace", `"gpus"`},
		{"DaemonSet/sluice", "spec.updateStrategy", `{"rollingUpdate":{"maxSurge":0,"maxUnavailable":1},"type":"RollingUpdate"}`},
		{"DaemonSet/sluice", container + "image", `"sluice:VERSION"`},
		{"DaemonSet/sluice", container + "args", `["--config=/etc/sluice/config.yaml","--kubelet-dir=/var/lib/kubelet","--host-mounts=/host","--log-level=info","--log-format=json"]`},
		{"DaemonSet/sluice", pod + "priorityClassName", `"system-node-critical"`},
		{"DaemonSet/sluice", pod + "nodeSelector", `{"kubernetes.io/os":"linux"}`},
		{"DaemonSet/sluice", pod + "affinity", "null"},
		{"DaemonSet/sluice", container + "livenessProbe.exec.command", `["/usr/bin/sluicectl","health","--live"]`},
		{"DaemonSet/sluice", container + "readinessProbe.exec.command", `["/usr/bin/sluicectl","health"]`},
		{"DaemonSet/sluice", container + "startupProbe", "null"},
		{"DaemonSet/sluice", "spec.template.metadata.annotations", `{"kubectl.kubernetes.io/default-container":"sluiced"}`},
		{"ConfigMap/sluice", "data", `{"config.yaml":"apiVersion: sluice.dev/v1alpha1\nkind: NodeConfig\nregistration: socket\n"}`},
		{"ServiceAccount/sluice", "automountServiceAccountToken", "false"},
		{"Namespace/gpus", "kind", "null"},
		{"ConfigMap/sluice-host", "kind", "null"},
	}},
	{name: "names and labels", values: `{fullnameOverride: x, namespaceOverride: elsewhere, commonLabels: {a: b}, podLabels: {c: d}, podAnnotations: {e: f}, serviceAccount: {name: z, annotations: {g: h}}}`, want: []expectation{
		{"DaemonSet/x", "metadata.namespace", `"elsewhere"`},
		{"DaemonSet/x", "metadata.labels.a", `"b"`},
		{"DaemonSet/x", "spec.template.metadata.labels.a", `"b"`},
		{"DaemonSet/x", "spec.template.metadata.labels.c", `"d"`},
		{"DaemonSet/x", "spec.template.metadata.annotations.e", `"f"`},
		{"DaemonSet/x", pod + "serviceAccountName", `"z"`},
		{"DaemonSet/x", pod + "volumes.config", `{"configMap":{"name":"x"},"name":"config"}`},
		{"ServiceAccount/z", "metadata.annotations.g", `"h"`},
	}},
	{name: "an image of one's own", values: `{image: {repository: r/s, tag: t, pullPolicy: Never}, imagePullSecrets: [{name: p}]}`, want: []expectation{
		{"DaemonSet/sluice", container + "image", `"r/s:t"`},
		{"DaemonSet/sluice", container + "imagePullPolicy", `"Never"`},
		{"DaemonSet/sluice", pod + "imagePullSecrets", `[{"name":"p"}]`},
		{"Pod/sluice-test", "spec.imagePullSecrets", `[{"name":"p"}]`},
		{"Pod/sluice-test", "spec.containers.0.image", `"r/s:t"`},
	}},
	{name: "an image by digest", values: `{image: {tag: t, digest: "sha256:` + strings.Repeat("a", 64) + `"}}`, want: []expectation{
		{"DaemonSet/sluice", container + "image", `"sluice@sha256:` + strings.Repeat("a", 64) + `"`},
	}},
	{name: "where kubelet lives: MicroK8s", values: `{distribution: microk8s}`, want: []expectation{
		{"DaemonSet/sluice", pod + "volumes.device-plugins.hostPath.path", `"/var/snap/microk8s/common/var/lib/kubelet/device-plugins"`},
		{"DaemonSet/sluice", container + "args.1", `"--kubelet-dir=/var/snap/microk8s/common/var/lib/kubelet"`},
		{"DaemonSet/sluice", container + "volumeMounts.device-plugins.mountPath", `"/var/snap/microk8s/common/var/lib/kubelet/device-plugins"`},
	}},
	{name: "where kubelet lives: a path", values: `{distribution: k0s, kubeletDir: /data/kubelet/}`, want: []expectation{
		{"DaemonSet/sluice", pod + "volumes.pod-resources.hostPath.path", `"/data/kubelet/pod-resources"`},
		{"DaemonSet/sluice", container + "args.1", `"--kubelet-dir=/data/kubelet"`},
	}},
	{name: "the plugin watcher", values: `{registration: watcher}`, want: []expectation{
		{"ConfigMap/sluice", "data", `{"config.yaml":"apiVersion: sluice.dev/v1alpha1\nkind: NodeConfig\nregistration: watcher\n"}`},
		{"DaemonSet/sluice", pod + "volumes.plugins-registry.hostPath", `{"path":"/var/lib/kubelet/plugins_registry","type":"Directory"}`},
		{"DaemonSet/sluice", container + "volumeMounts.plugins", `{"mountPath":"/var/lib/kubelet/plugins/sluice","name":"plugins"}`},
	}},
	{name: "no watcher, no mount of its directories", want: []expectation{
		{"DaemonSet/sluice", pod + "volumes.plugins-registry", "null"},
		{"DaemonSet/sluice", pod + "volumes.plugins", "null"},
	}},
	{name: "a configuration that is reloaded is a directory, never a subPath", values: `{config: {key: c.yaml, inline: {rules: [{resource: a.b/c}]}}}`, want: []expectation{
		{"DaemonSet/sluice", "spec.template.metadata.annotations.checksum/config", "null"},
		{"DaemonSet/sluice", container + "volumeMounts.config", `{"mountPath":"/etc/sluice","name":"config","readOnly":true}`},
		{"DaemonSet/sluice", container + "args.0", `"--config=/etc/sluice/c.yaml"`},
		{"ConfigMap/sluice", "data", `{"c.yaml":"apiVersion: sluice.dev/v1alpha1\nkind: NodeConfig\nregistration: socket\nrules:\n- resource: a.b/c\n"}`},
	}},
	{name: "a ConfigMap that is there", values: `{config: {existingConfigMap: mine, onChange: roll}}`, want: []expectation{
		{"ConfigMap/sluice", "kind", "null"},
		{"DaemonSet/sluice", pod + "volumes.config.configMap.name", `"mine"`},
		{"DaemonSet/sluice", "spec.template.metadata.annotations.checksum/config", "null"},
		{"Pod/sluice-test", "spec.volumes.config.configMap.name", `"mine"`},
	}},
	{name: "Node Feature Discovery is there", apis: []string{nfd}, want: []expectation{
		{"DaemonSet/sluice", pod + "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms.0",
			`{"matchExpressions":[{"key":"feature.node.kubernetes.io/pci-0300_10de.present","operator":"In","values":["true"]}]}`},
	}},
	{name: "an affinity of one's own goes before it", apis: []string{nfd}, values: `{affinity: {nodeAffinity: {}}}`, want: []expectation{
		{"DaemonSet/sluice", pod + "affinity", `{"nodeAffinity":{}}`},
	}},
	{name: "all nodes, whatever is there", apis: []string{nfd}, values: `{nodeDiscovery: all}`, want: []expectation{
		{"DaemonSet/sluice", pod + "affinity", "null"},
	}},
	{name: "its labels, also where they cannot be asked for", values: `{nodeDiscovery: nfd}`, want: []expectation{
		{"DaemonSet/sluice", pod + "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms.13.matchExpressions.0.key",
			`"feature.node.kubernetes.io/pci-1002.present"`},
	}},
	{name: "several groups of nodes", values: groups, want: []expectation{
		{"DaemonSet/sluice", "kind", "null"},
		{"DaemonSet/sluice-train", pod + "nodeSelector", `{"gpu":"h100","kubernetes.io/os":"linux"}`},
		{"DaemonSet/sluice-train", "spec.selector.matchLabels.sluice|dev/node-group", `"train"`},
		{"DaemonSet/sluice-train", "spec.template.metadata.labels.sluice|dev/node-group", `"train"`},
		{"DaemonSet/sluice-train", container + "securityContext.capabilities.add", `["SYS_PTRACE","DAC_READ_SEARCH"]`},
		{"DaemonSet/sluice-train", container + "resources", `{"limits":{"memory":"99Mi"}}`},
		{"ConfigMap/sluice-train", "data.config|yaml", `"apiVersion: sluice.dev/v1alpha1\nkind: NodeConfig\nregistration: socket\nrules:\n- bind: at-start\n"`},
		{"DaemonSet/sluice-rest", pod + "nodeSelector", `{"gpu":"any","kubernetes.io/os":"linux"}`},
		{"DaemonSet/sluice-rest", container + "securityContext.capabilities.add", "null"},
		{"DaemonSet/sluice-rest", container + "resources.limits.memory", `"64Mi"`},
		{"DaemonSet/sluice-rest", container + "args.1", `"--kubelet-dir=/var/lib/k0s/kubelet"`},
		{"DaemonSet/sluice-rest", pod + "priorityClassName", `"low"`},
		{"ConfigMap/sluice-rest", "data.config|yaml", `"apiVersion: sluice.dev/v1alpha1\nkind: NodeConfig\nregistration: socket\nrules:\n- resource: example.com/all\n"`},
		{"ConfigMap/sluice-own", "kind", "null"},
		{"DaemonSet/sluice-own", pod + "volumes.config.configMap.name", `"theirs"`},
		{"ConfigMap/sluice-own-host", "kind", `"ConfigMap"`},
		{"Pod/sluice-train-test", "spec.nodeSelector", `{"gpu":"h100"}`},
	}},
	{name: "a captured host", apis: []string{nfd}, values: `{simulation: {enabled: true}, variant: passthrough}`, want: []expectation{
		{"DaemonSet/sluice", container + "args", `["--config=/etc/sluice/config.yaml","--kubelet-dir=/var/lib/kubelet","--host=/etc/sluice-host/host.capture","--sim-nodes=/dev/null","--log-level=info","--log-format=json"]`},
		{"DaemonSet/sluice", container + "securityContext.capabilities", `{"drop":["ALL"]}`},
		{"DaemonSet/sluice", pod + "volumes.host-dev", "null"},
		{"DaemonSet/sluice", pod + "affinity", "null"},
		{"DaemonSet/sluice", container + "volumeMounts.capture.mountPath", `"/etc/sluice-host"`},
	}},
	{name: "a capture of one's own", values: `{simulation: {enabled: true, capture: "a\nb: \t\"c\"\n", key: k, nodes: /dev/zero}}`, want: []expectation{
		{"ConfigMap/sluice-host", "data.k", `"a\nb: \t\"c\"\n"`},
		{"DaemonSet/sluice", container + "args.2", `"--host=/etc/sluice-host/k"`},
		{"DaemonSet/sluice", container + "args.3", `"--sim-nodes=/dev/zero"`},
	}},
	{name: "a capture that is in the cluster", values: `{simulation: {enabled: true, existingConfigMap: c}}`, want: []expectation{
		{"ConfigMap/sluice-host", "kind", "null"},
		{"DaemonSet/sluice", pod + "volumes.capture.configMap.name", `"c"`},
		{"DaemonSet/sluice", "spec.template.metadata.annotations.checksum/capture", "null"},
	}},
	{name: "a namespace with the label of Pod Security", values: `{namespace: {create: true}}`, want: []expectation{
		{"Namespace/gpus", "metadata.labels.pod-security|kubernetes|io/enforce", `"privileged"`},
		{"Namespace/gpus", "metadata.labels.pod-security|kubernetes|io/warn", `"privileged"`},
	}},
	{name: "a host whose modules are not to be seen", values: `{variant: passthrough, modulesDir: ""}`, want: []expectation{
		{"DaemonSet/sluice", pod + "volumes.host-modules", "null"},
		{"DaemonSet/sluice", container + "volumeMounts.host-modules", "null"},
	}},
	{name: "no probes", values: `{livenessProbe: null, readinessProbe: null}`, want: []expectation{
		{"DaemonSet/sluice", container + "livenessProbe", "null"},
		{"DaemonSet/sluice", container + "readinessProbe", "null"},
	}},
	{name: "a word that YAML takes for a truth", values: `{nvidiaPersistenced: true, config: {inline: {rules: [{persistence: off}, {persistence: "off"}, {persistence: leave}, {power: on}, {power: "on"}]}}}`, want: []expectation{
		{"ConfigMap/sluice", "data.config|yaml", `"apiVersion: sluice.dev/v1alpha1\nkind: NodeConfig\nregistration: socket\nrules:\n- persistence: \"off\"\n- persistence: \"off\"\n- persistence: leave\n- power: \"on\"\n- power: \"on\"\n"`},
	}},
	{name: "nvidia-persistenced is asked", values: `{variant: passthroughBlind, nvidiaPersistenced: true}`, want: []expectation{
		{"DaemonSet/sluice", pod + "volumes.host-persistenced.hostPath", `{"path":"/run/nvidia-persistenced","type":"Directory"}`},
		{"DaemonSet/sluice", container + "volumeMounts.host-persistenced", `{"mountPath":"/host/run/nvidia-persistenced","name":"host-persistenced","readOnly":true}`},
	}},
	{name: "by a pod that binds nothing it is not", values: `{nvidiaPersistenced: true}`, want: []expectation{
		{"DaemonSet/sluice", pod + "volumes.host-persistenced", "null"},
	}},
	{name: "no service account", values: `{serviceAccount: {create: false}}`, want: []expectation{
		{"ServiceAccount/sluice", "kind", "null"},
		{"DaemonSet/sluice", pod + "serviceAccountName", `"default"`},
		{"DaemonSet/sluice", pod + "automountServiceAccountToken", "false"},
	}},
	{name: "further things", values: `{extraArgs: [--lock-wait=5], extraEnv: [{name: A, value: b}], extraVolumes: [{name: v, emptyDir: {}}],
		extraVolumeMounts: [{name: v, mountPath: /v}], livenessProbe: {exec: {command: [a]}}, readinessProbe: {exec: {command: [b]}},
		startupProbe: {exec: {command: [c]}}, seLinuxOptions: {type: t}, runtimeClassName: r, priorityClassName: "", tolerations: [], logLevel: debug, logFormat: text,
		terminationGracePeriodSeconds: 7, stateDir: /s, runDir: /r, updateStrategy: {type: OnDelete, rollingUpdate: null}}`, want: []expectation{
		{"DaemonSet/sluice", container + "args.5", `"--lock-wait=5"`},
		{"DaemonSet/sluice", container + "args.3", `"--log-level=debug"`},
		{"DaemonSet/sluice", container + "args.4", `"--log-format=text"`},
		{"DaemonSet/sluice", container + "env", `[{"name":"A","value":"b"}]`},
		{"DaemonSet/sluice", container + "volumeMounts.v.mountPath", `"/v"`},
		{"DaemonSet/sluice", pod + "volumes.v", `{"emptyDir":{},"name":"v"}`},
		{"DaemonSet/sluice", container + "livenessProbe.exec.command", `["a"]`},
		{"DaemonSet/sluice", container + "readinessProbe.exec.command", `["b"]`},
		{"DaemonSet/sluice", container + "startupProbe.exec.command", `["c"]`},
		{"DaemonSet/sluice", pod + "securityContext.seLinuxOptions", `{"type":"t"}`},
		{"DaemonSet/sluice", pod + "runtimeClassName", `"r"`},
		{"DaemonSet/sluice", pod + "priorityClassName", "null"},
		{"DaemonSet/sluice", pod + "tolerations", "null"},
		{"DaemonSet/sluice", pod + "terminationGracePeriodSeconds", "7"},
		{"DaemonSet/sluice", pod + "volumes.state.hostPath.path", `"/s"`},
		{"DaemonSet/sluice", pod + "volumes.run.hostPath.path", `"/r"`},
		{"DaemonSet/sluice", "spec.updateStrategy", `{"type":"OnDelete"}`},
	}},
	{name: "helm test asks for a device", values: `{test: {resource: nvidia.com/AD102GL_L40S}}`, want: []expectation{
		{"Pod/sluice-test", "spec.containers.0.resources", `{"limits":{"nvidia.com/AD102GL_L40S":1}}`},
		{"Pod/sluice-test", "metadata.annotations.helm|sh/hook", `"test"`},
		{"Pod/sluice-test", "metadata.labels.app|kubernetes|io/component", `"test"`}, // or the DaemonSet would adopt it
		{"DaemonSet/sluice", "spec.selector.matchLabels.app|kubernetes|io/component", `"sluiced"`},
		{"Pod/sluice-test", "spec.securityContext.runAsNonRoot", "true"},
	}},
}

func TestValuesMakeTheManifests(t *testing.T) {
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			r := render(t, row.values, row.apis...)
			for _, e := range row.want {
				if have := asJSON(at(r.get(e.object), e.path)); have != strings.ReplaceAll(e.want, "VERSION", version(t)) {
					t.Errorf("%s %s is\n%s, want\n%s", e.object, e.path, have, e.want)
				}
			}
		})
	}
}

// With onChange: roll another configuration makes another pod, and nothing else does.
func TestAConfigurationThatRollsIsPartOfThePod(t *testing.T) {
	pod := func(values string) string {
		return asJSON(at(render(t, values).get("DaemonSet/sluice"), "spec.template"))
	}
	first := pod(`{config: {onChange: roll, inline: {rescan: 5s}}}`)
	if first == pod(`{config: {onChange: roll, inline: {rescan: 6s}}}`) {
		t.Error("a change leaves the pods as they are")
	}
	if first != pod(`{config: {onChange: roll, inline: {rescan: 5s}}, commonLabels: {}}`) {
		t.Error("no change rolls them")
	}
	if pod(`{config: {inline: {rescan: 5s}}}`) != pod(`{config: {inline: {rescan: 6s}}}`) {
		t.Error("a change that sluiced notices by itself rolls the pods")
	}
}

// All that each variant may do, to the letter: what is not in here no pod of Sluice has.
var privileges = map[string]string{
	"readOnly": `add: null
/dev -> /host/dev ro
/run/sluice -> /run/sluice rw
/var/lib/kubelet/device-plugins -> /var/lib/kubelet/device-plugins rw
/var/lib/kubelet/pod-resources -> /var/lib/kubelet/pod-resources ro
/var/lib/sluice -> /var/lib/sluice rw
`,
	"passthroughBlind": `add: null
/dev -> /host/dev ro
/lib/modules -> /host/lib/modules ro
/run/sluice -> /run/sluice rw
/sys/bus/pci -> /host/sys/bus/pci rw
/sys/devices -> /host/sys/devices rw
/var/lib/kubelet/device-plugins -> /var/lib/kubelet/device-plugins rw
/var/lib/kubelet/pod-resources -> /var/lib/kubelet/pod-resources ro
/var/lib/sluice -> /var/lib/sluice rw
`,
	"passthrough": `add: ["SYS_PTRACE","DAC_READ_SEARCH"]
/dev -> /host/dev ro
/lib/modules -> /host/lib/modules ro
/proc -> /host/proc ro
/run/sluice -> /run/sluice rw
/sys/bus/pci -> /host/sys/bus/pci rw
/sys/devices -> /host/sys/devices rw
/var/lib/kubelet/device-plugins -> /var/lib/kubelet/device-plugins rw
/var/lib/kubelet/pod-resources -> /var/lib/kubelet/pod-resources ro
/var/lib/sluice -> /var/lib/sluice rw
`,
}

func TestEachVariantHasTheseRightsAndNoOther(t *testing.T) {
	for variant, want := range privileges {
		t.Run(variant, func(t *testing.T) {
			ds := render(t, "variant: "+variant).get("DaemonSet/sluice")
			spec := at(ds, "spec.template.spec").(map[string]any)
			for _, never := range []string{"hostNetwork", "hostPID", "hostIPC", "hostUsers", "initContainers"} {
				if spec[never] != nil {
					t.Errorf("%s is %v", never, spec[never])
				}
			}
			if n := len(spec["containers"].([]any)); n != 1 {
				t.Errorf("%d containers", n)
			}
			if have := asJSON(spec["securityContext"]); have != `{"runAsGroup":0,"runAsUser":0,"seccompProfile":{"type":"RuntimeDefault"}}` {
				t.Errorf("the pod's securityContext is %s", have)
			}
			if spec["automountServiceAccountToken"] != false {
				t.Error("it has a service account's token")
			}
			security := at(ds, container+"securityContext").(map[string]any)
			capabilities := security["capabilities"].(map[string]any)
			delete(security, "capabilities")
			if have := asJSON(security) + asJSON(capabilities["drop"]); have != `{"allowPrivilegeEscalation":false,"readOnlyRootFilesystem":true}["ALL"]` {
				t.Errorf("the container's securityContext is %s", have)
			}
			if have := "add: " + asJSON(capabilities["add"]) + "\n" + hostPaths(ds); have != want {
				t.Errorf("it has\n%s, want\n%s", have, want)
			}
		})
	}
}

// hostPaths are the mounts of host directories, a line each.
func hostPaths(ds object) string {
	host := map[string]string{}
	for _, v := range at(ds, pod+"volumes").([]any) {
		if path := at(v, "hostPath.path"); path != nil {
			host[at(v, "name").(string)] = path.(string)
		}
	}
	var lines []string
	for _, m := range at(ds, container+"volumeMounts").([]any) {
		if path, ok := host[at(m, "name").(string)]; ok {
			mode := "rw"
			if at(m, "readOnly") == true {
				mode = "ro"
			}
			lines = append(lines, fmt.Sprintf("%s -> %s %s\n", path, at(m, "mountPath"), mode))
		}
	}
	sort.Strings(lines)
	return strings.Join(lines, "")
}

var refused = []struct{ name, values, says string }{
	{"a rule that binds, in a pod that may not", `{config: {inline: {rules: [{}, {bind: on-allocate}]}}}`, `rules[1].bind is on-allocate, and variant readOnly may bind nothing`},
	{"a release that nobody can look before", `{variant: passthroughBlind, config: {inline: {rules: [{bind: on-allocate, release: restore}]}}}`, "rules[0].release is restore, which runs only where it can be seen"},
	{"a reset in a pod that writes nothing", `{config: {inline: {rules: [{release: reset}]}}}`, "rules[0].release is reset"},
	{"nvidia-persistenced that cannot be reached", `{variant: passthrough, config: {inline: {rules: [{persistence: off}]}}}`, "rules[0].persistence is off, and nvidia-persistenced cannot be reached"},
	{"a module that a pod cannot load", `{variant: passthrough, config: {inline: {loadModules: true}}}`, "loadModules: a pod of this chart may load no module"},
	{"the same in a group", `{nodeGroups: [{name: a, config: {inline: {rules: [{bind: at-start}]}}}]}`, `nodeGroups[a]: config.inline.rules[0].bind`},
	{"two configurations", `{config: {existingConfigMap: a, inline: {rescan: 5s}}}`, "only one of them"},
	{"a registration that is mounted for the other one", `{config: {inline: {registration: watcher}}}`, "set the value registration instead"},
	{"two groups of one name", `{nodeGroups: [{name: a}, {name: a}]}`, `two groups are named "a"`},
	{"an unknown value", `{imagee: {}}`, "imagee"},
	{"an unknown value below", `{image: {tags: x}}`, "tags"},
	{"a text for a number", `{terminationGracePeriodSeconds: soon}`, "terminationGracePeriodSeconds"},
	{"a list for a map", `{nodeSelector: [a]}`, "nodeSelector"},
	{"a number for a label", `{nodeSelector: {a: 1}}`, "nodeSelector"},
	{"an unknown variant", `{variant: privileged}`, "variant"},
	{"an unknown distribution", `{distribution: minikube}`, "distribution"},
	{"a relative directory", `{kubeletDir: var/lib/kubelet}`, "kubeletDir"},
	{"two daemons on one node", `{updateStrategy: {rollingUpdate: {maxSurge: 1}}}`, "maxSurge"},
	{"a digest that is none", `{image: {digest: sha256:abc}}`, "digest"},
	{"a group without a name", `{nodeGroups: [{variant: readOnly}]}`, "name"},
	{"a group with an unknown key", `{nodeGroups: [{name: a, image: {}}]}`, "image"},
	{"a group whose name is no label", `{nodeGroups: [{name: A_b}]}`, "name"},
	{"an unknown key of the configuration", `{config: {inline: {rulez: []}}}`, "rulez"},
	{"an unknown key of a rule", `{config: {inline: {rules: [{selec: {}}]}}}`, "selec"},
	{"an unknown key of a selection", `{config: {inline: {rules: [{select: {id: [x]}}]}}}`, "id"},
	{"a wrong value of a rule", `{config: {inline: {rules: [{bind: always}]}}}`, "bind"},
	{"an id that is none", `{config: {inline: {rules: [{select: {ids: [L40S]}}]}}}`, "ids"},
	{"a duration without a unit", `{config: {inline: {rescan: "10"}}}`, "rescan"},
	{"a level that hostPath volumes break", `{namespace: {podSecurity: restricted}}`, "podSecurity"},
	{"a capture that is not there", `{simulation: {builtin: h100}}`, "builtin"},
	{"a resource without a slash", `{test: {resource: gpu}}`, "resource"},
}

func TestWrongValuesAreRefused(t *testing.T) {
	for _, row := range refused {
		t.Run(row.name, func(t *testing.T) {
			_, err := renderErr(row.values, "sluice", "1.34.0")
			if err == nil || !strings.Contains(err.Error(), row.says) {
				t.Errorf("it says %v, not %q", err, row.says)
			}
		})
	}
}

// Every key of the configuration that docs/config.md lists is in the schema, with the same words, and no other.
func TestTheSchemaKnowsTheConfiguration(t *testing.T) {
	var schema map[string]any
	if err := yaml.Unmarshal([]byte(read(t, chartDir+"/values.schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	var walk func(prefix string, s map[string]any)
	walk = func(prefix string, s map[string]any) {
		if ref, ok := s["$ref"].(string); ok {
			s = at(schema, "definitions."+filepath.Base(ref)).(map[string]any)
		}
		for key, below := range mapOf(s["properties"]) {
			have[prefix+key] = true
			walk(prefix+key+".", mapOf(below))
		}
		if items := mapOf(s["items"]); items != nil {
			walk(strings.TrimSuffix(prefix, ".")+"[].", items)
		}
	}
	walk("", mapOf(at(schema, "definitions.nodeConfig")))
	delete(have, "rules[].select")
	documented := map[string]bool{}
	page := read(t, root+"/docs/config.md")
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-zA-Z\\[\\].]+)` \\|").FindAllStringSubmatch(page, -1) {
		documented[m[1]] = true
	}
	delete(documented, "rules[].select")
	for key := range documented {
		if !have[key] {
			t.Errorf("the schema lacks %s", key)
		}
	}
	for key := range have {
		if !documented[key] {
			t.Errorf("the schema has %s, docs/config.md has not", key)
		}
	}
}

func mapOf(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// The daemon itself takes the options and the configuration that the chart gives it.
func TestSluicedTakesWhatTheChartGives(t *testing.T) {
	config := filepath.Join(t.TempDir(), "config.yaml")
	for _, values := range []string{"", groups, `{registration: watcher, simulation: {enabled: true}}`, example} {
		r := render(t, values)
		checked := 0
		for _, o := range r.objects {
			text, _ := at(o, "data.config|yaml").(string)
			if text == "" {
				continue
			}
			if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			ds := r.get("DaemonSet/" + at(o, "metadata.name").(string))
			var args []string
			for _, a := range at(ds, container+"args").([]any) {
				args = append(args, a.(string))
			}
			if out, err := sluiced(t, append(args, "--config", config, "--check-config")...); err != nil {
				t.Errorf("%v: %s of\n%s", err, out, text)
			}
			checked++
		}
		if checked == 0 {
			t.Errorf("no configuration of %q", values)
		}
	}
}

// Every key of the configuration at once.
const example = `
variant: passthrough
nvidiaPersistenced: true
config:
  inline:
    apiVersion: sluice.dev/v1alpha1
    kind: NodeConfig
    classes: ["0300", "0302"]
    nameRule: keep-hyphen
    aliases: [{id: "10de:2321", name: H100_94GB}]
    bindDeadline: 20s
    rescan: 1m
    nodeSocketGroup: 1500000
    loadModules: false
    rules:
      - select: {ids: ["10de:26b9", "1002:7410"], subsystems: ["10de:*"], addresses: ["0000:3b:*"], classes: ["0302"], drivers: [none],
                 role: pf, numaNodes: [0, -1], models: ["*L40S*"]}
        resource: example.com/a
        bind: on-allocate
        release: reset+restore
        persistence: off
        mode: vfio
        group: one-device
        topology: split
        prefer: spread
      - {select: {role: vf, vfRange: 0-3}, prefix: example.org, alias: VF}
      - {deny: true}
`

// The programs that the pod runs know the words that it gives them.
func TestTheProbesAreVerbsOfSluicectl(t *testing.T) {
	ds := render(t, "").get("DaemonSet/sluice")
	for _, probe := range []string{"livenessProbe", "readinessProbe"} {
		var words []string
		for _, w := range at(ds, container+probe+".exec.command").([]any) {
			words = append(words, w.(string))
		}
		// No daemon is there, which is status 3; an unknown word would be 2.
		out, err := exec.Command(filepath.Join(bin(t), filepath.Base(words[0])), append(words[1:], "--run-dir", t.TempDir())...).CombinedOutput()
		if status, ok := err.(*exec.ExitError); !ok || status.ExitCode() != 3 {
			t.Errorf("%s: %v: %s", probe, err, out)
		}
	}
}

func TestTheNotesSayWhatIsOfferedAndWhatComesNext(t *testing.T) {
	for values, says := range map[string][]string{
		"": {"in namespace gpus", "binds nothing itself (variant: readOnly)", "Without a rule only", "rollout status daemonset/sluice",
			"kubectl get nodes", "exec daemonset/sluice -- /usr/bin/sluicectl inventory", "kubectl label namespace gpus pod-security.kubernetes.io/enforce=privileged",
			"!release --idle"},
		"variant: passthrough":              {"sees who has a device open", "Before `helm uninstall`: what Sluice bound stays bound.", "/usr/bin/sluicectl release --idle"},
		"variant: passthroughBlind":         {"cannot see who has a device open", "release --idle"},
		"simulation: {enabled: true}":       {"nothing of the node is touched", "!release --idle"},
		groups:                              {"sluice-train: may bind", "rollout status daemonset/sluice-train daemonset/sluice-rest daemonset/sluice-own"},
		"config: {inline: {rules: [{}]}}":   {"!Without a rule only"},
		"namespace: {create: true}":         {"!kubectl label namespace"},
		"config: {existingConfigMap: mine}": {"!Without a rule only"},
	} {
		notes := render(t, values).notes()
		for _, want := range says {
			if strings.Contains(notes, strings.TrimPrefix(want, "!")) == strings.HasPrefix(want, "!") {
				t.Errorf("%q: the notes lack (or have) %q:\n%s", values, want, notes)
			}
		}
	}
}

func TestReleasesOfAnyNameHaveNamesThatFit(t *testing.T) {
	long := strings.Repeat("x", 53) // as long as Helm lets it be
	r, err := renderErr("nodeGroups: [{name: abcdefghijklmnopqrst, simulation: {enabled: true}}]", long, "1.34.0")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range r.objects {
		if name := at(o, "metadata.name").(string); len(name) > 63 || strings.HasSuffix(name, "-") {
			t.Errorf("%s has %d characters", o.name(), len(name))
		}
	}
}

// A capture of the chart is the fixture itself, whole.
func TestTheCapturesOfTheChartAreWhole(t *testing.T) {
	for _, name := range []string{"l40s-8", "l40s-8-vfio"} {
		r := render(t, "simulation: {enabled: true, builtin: "+name+"}")
		want := read(t, root+"/tests/fixtures/hosts/"+name+".capture")
		if have := at(r.get("ConfigMap/sluice-host"), "data.host|capture"); have != want {
			t.Errorf("%s is another one", name)
		}
	}
}
