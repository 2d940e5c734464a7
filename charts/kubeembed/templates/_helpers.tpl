{{/* Name of the release's objects: kubeembed-operator for the release called kubeembed. */}}
{{- define "kubeembed.operator" -}}
{{- $base := .Release.Name -}}
{{- if not (contains .Chart.Name .Release.Name) -}}
{{- $base = printf "%s-%s" .Release.Name .Chart.Name -}}
{{- end -}}
{{- printf "%s-operator" (trunc 54 $base | trimSuffix "-") -}}
{{- end -}}

{{- define "kubeembed.selector" -}}
app.kubernetes.io/name: kubeembed
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "kubeembed.labels" -}}
{{ include "kubeembed.selector" . }}
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

{{/* The operator's settings file. A profile that asks for NVIDIA hardware gets the image that can use it. */}}
{{- define "kubeembed.settings" -}}
{{- $root := . -}}
{{- if not (hasKey .Values.profiles .Values.defaultProfile) -}}
{{- fail (printf "defaultProfile: %q is none of the profiles: %s" .Values.defaultProfile (keys .Values.profiles | sortAlpha | join ", ")) -}}
{{- end -}}
{{- $cuda := include "kubeembed.image" (dict "root" $root "kind" "runtimeCuda") -}}
{{- $profiles := dict -}}
{{- range $name, $profile := .Values.profiles -}}
{{- $wanted := $profile | default dict -}}
{{- $limits := dig "resources" "limits" dict $wanted | default dict -}}
{{- range $resource, $_ := $limits -}}
{{- if and (hasPrefix "nvidia.com/" $resource) (not $wanted.image) -}}
{{- $wanted = merge (dict "image" $cuda) $wanted -}}
{{- end -}}
{{- end -}}
{{- $_ := set $profiles $name $wanted -}}
{{- end -}}
{{- $images := dict
  "control" (include "kubeembed.image" (dict "root" $root "kind" "control"))
  "runtime" (include "kubeembed.image" (dict "root" $root "kind" "runtime"))
  "pullPolicy" .Values.images.pullPolicy
  "pullSecrets" (.Values.images.pullSecrets | default list) -}}
{{- toYaml (dict
  "images" $images
  "namespace" (.Values.watchNamespace | default "")
  "defaultProfile" .Values.defaultProfile
  "profiles" $profiles
  "weights" .Values.weights) -}}
{{- end -}}
