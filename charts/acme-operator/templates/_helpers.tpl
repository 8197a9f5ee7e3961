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

{{/* Namespace of the Lease. A namespaced operator has no rights elsewhere. */}}
{{- define "acme-operator.leaseNamespace" -}}
{{- .Values.global.leaderElection.namespace | default (ternary .Release.Namespace "kube-system" (not (empty .Values.namespaces))) -}}
{{- end -}}

{{/*
Returns a role and its binding, in a namespace or else cluster-wide. Argument: a dictionary of the root context, the component, the
account, the name, the rules, and the namespace.
*/}}
{{- define "acme-operator.grant" -}}
{{- $kind := ternary "ClusterRole" "Role" (empty .namespace) -}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels: {{- include "acme-operator.labels" (list .context .component) | nindent 4 }}
rules: {{- toYaml .rules | nindent 2 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: {{ $kind }}Binding
metadata:
  name: {{ .name }}
  {{- with .namespace }}
  namespace: {{ . }}
  {{- end }}
  labels: {{- include "acme-operator.labels" (list .context .component) | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: {{ $kind }}
  name: {{ .name }}
subjects:
  - kind: ServiceAccount
    name: {{ .account }}
    namespace: {{ .context.Release.Namespace }}
{{- end -}}

{{/* Port on which the solver answers challenges: SOLVER_PORT in crds/src/http01.rs. */}}
{{- define "acme-operator.solverPort" -}}
8089
{{- end -}}

{{/* Returns the labels of an object. Argument: a list of the root context and the component. */}}
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

{{/* Returns the labels that select the Pods of a component. Argument: a list of the root context and the component. */}}
{{- define "acme-operator.selector" -}}
{{- $ := index . 0 -}}
app.kubernetes.io/name: {{ $.Chart.Name }}
app.kubernetes.io/instance: {{ $.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/* Returns the reference of an image. Argument: a list of the root context and the values of the image. */}}
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

{{/* Returns the security context of a container, as the Pod Security Standard "restricted" requires it. */}}
{{- define "acme-operator.containerSecurityContext" -}}
allowPrivilegeEscalation: false
capabilities: { drop: [ALL] }
readOnlyRootFilesystem: true
runAsNonRoot: true
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{/* Returns ports for egress: those of DNS servers, and others of TCP, each once. Argument: a list of both lists. */}}
{{- define "acme-operator.egressPorts" -}}
{{- range index . 0 }}
- { port: {{ . }}, protocol: UDP }
- { port: {{ . }}, protocol: TCP }
{{- end }}
{{- range index . 1 | uniq }}
- { port: {{ . }}, protocol: TCP }
{{- end }}
{{- end -}}
