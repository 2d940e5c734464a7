{{/* Name of the release's objects: kubeembed-operator for the release called kubeembed. */}}
{{- define "kubeembed.operator" -}}
{{- printf "%s-operator" (include "kubeembed.base" .) -}}
{{- end -}}

{{- define "kubeembed.gateway" -}}
{{- printf "%s-gateway" (include "kubeembed.base" .) -}}
{{- end -}}

{{- define "kubeembed.base" -}}
{{- $base := .Release.Name -}}
{{- if not (contains .Chart.Name .Release.Name) -}}
{{- $base = printf "%s-%s" .Release.Name .Chart.Name -}}
{{- end -}}
{{- trunc 54 $base | trimSuffix "-" -}}
{{- end -}}

{{- define "kubeembed.selector" -}}
app.kubernetes.io/name: kubeembed
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "kubeembed.gatewaySelector" -}}
app.kubernetes.io/name: kubeembed
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: gateway
{{- end -}}

{{- define "kubeembed.labels" -}}
{{ include "kubeembed.selector" . }}
{{ include "kubeembed.chartLabels" . }}
{{- end -}}

{{- define "kubeembed.gatewayLabels" -}}
{{ include "kubeembed.gatewaySelector" . }}
{{ include "kubeembed.chartLabels" . }}
{{- end -}}

{{- define "kubeembed.chartLabels" -}}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Full name of an image: as set, or this version's. Called with the root and the image's kind. */}}
{{- define "kubeembed.image" -}}
{{- $set := .root.Values.images -}}
{{- $version := .root.Chart.AppVersion -}}
{{- if eq .kind "control" -}}
{{- $set.control | default (printf "kubeembed/control:%s" $version) -}}
{{- else if eq .kind "runtime" -}}
{{- $set.runtime | default (printf "kubeembed/runtime:%s" $version) -}}
{{- else -}}
{{- $set.runtimeCuda | default $set.runtime | default (printf "kubeembed/runtime:%s-cuda" $version) -}}
{{- end -}}
{{- end -}}

{{/* Which image a profile's pods run: as it says, else that for the hardware it asks for. Contradictions end here. */}}
{{- define "kubeembed.variant" -}}
{{- $at := printf "profiles.%s" .name -}}
{{- $profile := .profile -}}
{{- $limits := dig "resources" "limits" dict $profile | default dict -}}
{{- $requests := dig "resources" "requests" dict $profile | default dict -}}
{{- if and $profile.variant $profile.image -}}
{{- fail (printf "%s: variant chooses one of the installation's images and image is another; write one of them" $at) -}}
{{- end -}}
{{- $variant := "cpu" -}}
{{- range $resource, $_ := merge (dict) $limits $requests -}}
{{- if and (contains "/" $resource) $profile.resourceClaimTemplateName -}}
{{- fail (printf "%s: %s is one way to ask for devices and resourceClaimTemplateName another; write one of them" $at $resource) -}}
{{- end -}}
{{- if and (contains "/" $resource) (not (hasKey $limits $resource)) -}}
{{- fail (printf "%s.resources.requests: %s is counted in devices; write it under limits" $at $resource) -}}
{{- end -}}
{{- if hasPrefix "nvidia.com/" $resource -}}
{{- $variant = "cuda" -}}
{{- end -}}
{{- end -}}
{{- if and (eq $variant "cuda") (eq ($profile.variant | default "cuda") "cpu") -}}
{{- fail (printf "%s: variant cpu can't use the NVIDIA devices under resources.limits; write variant cuda, or leave it out" $at) -}}
{{- end -}}
{{- range $toleration := $profile.tolerations -}}
{{- if and (eq ($toleration.operator | default "Equal") "Exists") $toleration.value -}}
{{- fail (printf "%s.tolerations: operator Exists goes with any value; leave out value %s" $at $toleration.value) -}}
{{- end -}}
{{- end -}}
{{- $profile.variant | default $variant -}}
{{- end -}}

{{/* Who reaches the admin ports of the models' pods: the operator, and Prometheus as metrics.allowFrom says. */}}
{{- define "kubeembed.adminFrom" -}}
{{- if and .Values.metrics.podMonitor.enabled (not .Values.metrics.allowFrom) -}}
{{- fail "metrics.podMonitor: the models' NetworkPolicies keep Prometheus out unless metrics.allowFrom says which pods it is, as in [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]" -}}
{{- end -}}
{{- $operator := dict
  "namespaceSelector" (dict "matchLabels" (dict "kubernetes.io/metadata.name" .Release.Namespace))
  "podSelector" (dict "matchLabels" (include "kubeembed.selector" . | fromYaml)) -}}
{{- toYaml (concat (list $operator) (.Values.metrics.allowFrom | default list)) -}}
{{- end -}}

{{/* The operator's settings file.  */}}
{{- define "kubeembed.settings" -}}
{{- $root := . -}}
{{- if not (hasKey .Values.profiles .Values.defaultProfile) -}}
{{- fail (printf "defaultProfile: %q is none of the profiles: %s" .Values.defaultProfile (keys .Values.profiles | sortAlpha | join ", ")) -}}
{{- end -}}
{{- $cuda := include "kubeembed.image" (dict "root" $root "kind" "runtimeCuda") -}}
{{- $profiles := dict -}}
{{- range $name, $profile := .Values.profiles -}}
{{- $wanted := $profile | default dict -}}
{{- $variant := include "kubeembed.variant" (dict "name" $name "profile" $wanted) -}}
{{- if and (eq $variant "cuda") (not $wanted.image) -}}
{{- $wanted = merge (dict "image" $cuda) $wanted -}}
{{- end -}}
{{- $_ := set $profiles $name (omit $wanted "variant") -}}
{{- end -}}
{{- $images := dict
  "control" (include "kubeembed.image" (dict "root" $root "kind" "control"))
  "runtime" (include "kubeembed.image" (dict "root" $root "kind" "runtime"))
  "pullPolicy" .Values.images.pullPolicy
  "pullSecrets" (.Values.images.pullSecrets | default list) -}}
{{- $gateway := dict "namespace" .Release.Namespace "labels" (include "kubeembed.gatewaySelector" . | fromYaml) -}}
{{- $keda := dict "url" (printf "http://%s.%s.svc" (include "kubeembed.operator" .) .Release.Namespace) -}}
{{- toYaml (dict
  "keda" (ternary $keda nil .Values.keda.enabled)
  "gateway" (ternary $gateway nil .Values.gateway.enabled)
  "adminFrom" (include "kubeembed.adminFrom" . | fromYamlArray)
  "images" $images
  "namespace" (.Values.watchNamespace | default "")
  "defaultProfile" .Values.defaultProfile
  "profiles" $profiles
  "weights" .Values.weights) -}}
{{- end -}}
