{{- define "acme-operator.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "acme-operator.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "acme-operator.fullname" .) -}}
{{- end -}}

{{- define "acme-operator.solverName" -}}
{{- include "acme-operator.fullname" . }}-http01-solver
{{- end -}}

{{/* Labels of every object. Argument: list of context and component. */}}
{{- define "acme-operator.labels" -}}
{{- $ := index . 0 -}}
{{ include "acme-operator.selector" . }}
app.kubernetes.io/version: {{ $.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $.Release.Service }}
app.kubernetes.io/part-of: acme-operator
helm.sh/chart: {{ printf "%s-%s" $.Chart.Name $.Chart.Version }}
{{- with $.Values.global.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels that Pods are found by. Argument: list of context and component. */}}
{{- define "acme-operator.selector" -}}
{{- $ := index . 0 -}}
app.kubernetes.io/name: {{ $.Chart.Name }}
app.kubernetes.io/instance: {{ $.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* An image's reference. Argument: list of context and image values. */}}
{{- define "acme-operator.image" -}}
{{- $ := index . 0 -}}
{{- with index . 1 -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What Pod Security "restricted" asks of a container. */}}
{{- define "acme-operator.containerSecurityContext" -}}
allowPrivilegeEscalation: false
capabilities: { drop: [ALL] }
readOnlyRootFilesystem: true
runAsNonRoot: true
seccompProfile: { type: RuntimeDefault }
{{- end -}}
