{{/* What objects are called. 40 characters, because pods and services are named after the cluster. */}}
{{- define "pondage.fullname" -}}
{{- $name := .Values.fullnameOverride -}}
{{- if not $name -}}
{{- $name = contains "pondage" .Release.Name | ternary .Release.Name (printf "%s-pondage" .Release.Name) -}}
{{- end -}}
{{- $name | replace "." "-" | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "pondage.operator.name" -}}
{{ include "pondage.fullname" . }}-operator
{{- end }}

{{/* The name of an object that lies in no namespace: two releases of one name are kept apart. */}}
{{- define "pondage.clusterwide.name" -}}
{{ .Release.Namespace }}-{{ include "pondage.fullname" . }}
{{- end }}

{{- define "pondage.cluster.name" -}}
{{- $name := .Values.cluster.name | default (include "pondage.fullname" .) -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$" $name) -}}
{{- fail (printf "cluster.name: %q must be at most 40 lower-case letters, digits and '-', and begin with a letter" $name) -}}
{{- end -}}
{{ $name }}
{{- end }}

{{/* Labels that select nothing. Called with (list . COMPONENT). */}}
{{- define "pondage.labels" -}}
{{- $ := first . -}}
{{ include "pondage.selectorLabels" . }}
app.kubernetes.io/part-of: pondage
app.kubernetes.io/version: {{ $.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $.Chart.Name $.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "pondage.selectorLabels" -}}
{{- $ := first . -}}
app.kubernetes.io/name: pondage
app.kubernetes.io/instance: {{ $.Release.Name }}
app.kubernetes.io/component: {{ last . }}
{{- end }}

{{- define "pondage.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}{{ with .tag }}:{{ . }}{{ end }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "pondage.operator.serviceAccountName" -}}
{{- if .Values.operator.serviceAccount.create -}}
{{ .Values.operator.serviceAccount.name | default (include "pondage.operator.name" .) }}
{{- else -}}
{{ .Values.operator.serviceAccount.name | default "default" }}
{{- end -}}
{{- end }}

{{/* Every pod of this chart meets the Pod Security Standard "restricted". That is no value: nothing needs more. */}}
{{- define "pondage.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "pondage.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* One resource of ours out of a list of values. Called with a dict of root, kind, path, index and item. */}}
{{- define "pondage.resource" -}}
{{- $root := .root -}}
{{- $spec := deepCopy (.item.spec | default dict) -}}
{{- if not $spec.clusterRef -}}
{{- if not $root.Values.cluster.enabled -}}
{{- fail (printf "%s.%d (%s): spec.clusterRef is needed where cluster.enabled is false" .path .index .item.name) -}}
{{- end -}}
{{- $_ := set $spec "clusterRef" (dict "name" (include "pondage.cluster.name" $root)) -}}
{{- end -}}
apiVersion: pondage.io/v1alpha1
kind: {{ .kind }}
metadata:
  name: {{ .item.name }}
  namespace: {{ $root.Release.Namespace }}
  labels:
    {{- merge dict (include "pondage.labels" (list $root "resource") | fromYaml) (.item.labels | default dict) | toYaml | nindent 4 }}
  {{- with .item.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- toYaml $spec | nindent 2 }}
{{- end }}
