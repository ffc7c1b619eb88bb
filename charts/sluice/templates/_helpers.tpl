{{/* SPDX-License-Identifier: Apache-2.0 */}}
{{- define "sluice.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 36 | trimSuffix "-" -}}
{{- end -}}

{{- define "sluice.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 36 | trimSuffix "-" -}}
{{- else if contains (include "sluice.name" .) .Release.Name -}}
{{- .Release.Name | trunc 36 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "sluice.name" .) | trunc 36 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "sluice.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{- define "sluice.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "sluice.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "sluice.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "sluice.selectorLabels" -}}
app.kubernetes.io/name: {{ include "sluice.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "sluice.labels" -}}
{{ include "sluice.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The groups of nodes as {list: [...]}: the values, with what the group says in their place; without groups one of no name. */}}
{{- define "sluice.groups" -}}
{{- $top := omit .Values "nodeGroups" -}}
{{- $list := list -}}
{{- $names := dict -}}
{{- range .Values.nodeGroups -}}
  {{- if hasKey $names .name -}}{{- fail (printf "nodeGroups: two groups are named %q" .name) -}}{{- end -}}
  {{- $_ := set $names .name true -}}
  {{- $group := deepCopy $top -}}
  {{- range $key, $value := . -}}
    {{- if or (eq $key "config") (eq $key "simulation") -}}
      {{- $rest := get $top $key -}}
      {{- if or (hasKey $value "inline") (hasKey $value "existingConfigMap") (hasKey $value "builtin") (hasKey $value "capture") -}}
        {{- $rest = omit $rest "inline" "existingConfigMap" "builtin" "capture" -}}
      {{- end -}}
      {{- $value = merge (deepCopy $value) $rest -}}
    {{- end -}}
    {{- $_ := set $group $key $value -}}
  {{- end -}}
  {{- $list = append $list $group -}}
{{- else -}}
  {{- $list = append $list (set (deepCopy $top) "name" "") -}}
{{- end -}}
{{- range $list -}}{{- include "sluice.check" . -}}{{- end -}}
{{- dict "list" $list | toJson -}}
{{- end -}}

{{/* What no schema can say of a group. */}}
{{- define "sluice.check" -}}
{{- $persistenced := .nvidiaPersistenced -}}
{{- $where := ternary "" (printf "nodeGroups[%s]: " .name) (eq .name "") -}}
{{- if and .config.inline .config.existingConfigMap -}}
{{- fail (printf "%sconfig.inline and config.existingConfigMap: only one of them" $where) -}}
{{- end -}}
{{- if and (hasKey (default dict .config.inline) "registration") (ne (get .config.inline "registration") .registration) -}}
{{- fail (printf "%sconfig.inline.registration: set the value registration instead, which also decides what is mounted" $where) -}}
{{- end -}}
{{- if and (get (default dict .config.inline) "loadModules") (not .simulation.enabled) -}}
{{- fail (printf "%sconfig.inline.loadModules: a pod of this chart may load no module: load vfio-pci on the host (modules-load.d)" $where) -}}
{{- end -}}
{{- if not .simulation.enabled -}}
{{- range $i, $rule := (default dict .config.inline).rules -}}
{{- if and (has (toString $rule.persistence) (list "off" "false")) (not $persistenced) -}}
{{- fail (printf "%sconfig.inline.rules[%d].persistence is off, and nvidia-persistenced cannot be reached: set nvidiaPersistenced to true" $where $i) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and (ne .variant "passthrough") (not .simulation.enabled) -}}
{{- $readOnly := eq .variant "readOnly" -}}
{{- range $i, $rule := (default dict .config.inline).rules -}}
{{- if and $readOnly (ne (default "never" $rule.bind) "never") -}}
{{- fail (printf "%sconfig.inline.rules[%d].bind is %s, and variant readOnly may bind nothing: set variant to passthrough" $where $i $rule.bind) -}}
{{- end -}}
{{- if ne (default "keep" $rule.release) "keep" -}}
{{- fail (printf "%sconfig.inline.rules[%d].release is %s, which runs only where it can be seen who has a device open: set variant to passthrough" $where $i $rule.release) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "sluice.kubeletDir" -}}
{{- $known := dict "standard" "/var/lib/kubelet" "microk8s" "/var/snap/microk8s/common/var/lib/kubelet" "k0s" "/var/lib/k0s/kubelet" -}}
{{- default (get $known .distribution) .kubeletDir | trimSuffix "/" -}}
{{- end -}}

{{- define "sluice.config" -}}
{{- $inline := deepCopy (default dict .config.inline) -}}
{{- range $inline.rules -}}
{{- /* "persistence: off" of a values file is YAML's false, "power: on" its true. */ -}}
{{- if eq (toString .persistence) "false" -}}{{- $_ := set . "persistence" "off" -}}{{- end -}}
{{- if eq (toString .power) "true" -}}{{- $_ := set . "power" "on" -}}{{- end -}}
{{- end -}}
apiVersion: sluice.dev/v1alpha1
kind: NodeConfig
registration: {{ .registration }}
{{- with omit $inline "apiVersion" "kind" "registration" }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels of Node Feature Discovery for GPUs of the vendors that the implicit rule knows; one of them is enough. */}}
{{- define "sluice.nfdAffinity" -}}
nodeAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    nodeSelectorTerms:
      {{- range $class := list "0300" "0302" "0380" "1200" }}
      {{- range $vendor := list "10de" "1002" "8086" }}
      - matchExpressions: [{key: feature.node.kubernetes.io/pci-{{ $class }}_{{ $vendor }}.present, operator: In, values: ["true"]}]
      {{- end }}
      {{- end }}
      {{- range $vendor := list "10de" "1002" }}
      - matchExpressions: [{key: feature.node.kubernetes.io/pci-{{ $vendor }}.present, operator: In, values: ["true"]}]
      {{- end }}
{{- end -}}

{{- define "sluice.configMapName" -}}
{{- $root := index . 0 -}}{{- $group := index . 1 -}}
{{- default (include "sluice.groupName" (list $root $group)) $group.config.existingConfigMap -}}
{{- end -}}

{{- define "sluice.groupName" -}}
{{- $root := index . 0 -}}{{- $group := index . 1 -}}
{{- include "sluice.fullname" $root -}}{{- with $group.name -}}-{{ . }}{{- end -}}
{{- end -}}

{{- define "sluice.capture" -}}
{{- $root := index . 0 -}}{{- $sim := (index . 1).simulation -}}
{{- if $sim.capture -}}{{- $sim.capture -}}{{- else -}}{{- $root.Files.Get (printf "captures/%s.capture" $sim.builtin) -}}{{- end -}}
{{- end -}}
