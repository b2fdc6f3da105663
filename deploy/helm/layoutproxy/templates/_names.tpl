{{- define "layoutproxy.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 54 | trimSuffix "-" }}
{{- end }}

{{- define "layoutproxy.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 54 | trimSuffix "-" }}
{{- else if contains (include "layoutproxy.name" .) .Release.Name }}
{{- .Release.Name | trunc 54 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "layoutproxy.name" .) | trunc 54 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "layoutproxy.selector" -}}
app.kubernetes.io/name: {{ include "layoutproxy.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: registry
{{- end }}

{{- define "layoutproxy.labels" -}}
{{ include "layoutproxy.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "layoutproxy.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "layoutproxy.metadata" -}}
name: {{ include "layoutproxy.fullname" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "layoutproxy.labels" . | nindent 2 }}
{{- end }}
