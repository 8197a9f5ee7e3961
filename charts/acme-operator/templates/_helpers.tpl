{{- define "acme-operator.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "acme-operator.fullname" -}}
{{- $name := include "acme-operator.name" . -}}
{{- $ofRelease := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- .Values.fullnameOverride | default $ofRelease | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Namespace of all objects. */}}
{{- define "acme-operator.namespace" -}}
{{- .Values.namespace | default .Release.Namespace -}}
{{- end -}}

{{- define "acme-operator.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "acme-operator.fullname" .) "default") -}}
{{- end -}}

{{- define "acme-operator.solverName" -}}
{{- include "acme-operator.fullname" . }}-http01-solver
{{- end -}}

{{/* Namespace of the Lease. A namespaced operator has no rights elsewhere. */}}
{{- define "acme-operator.leaseNamespace" -}}
{{- .Values.global.leaderElection.namespace | default (ternary (include "acme-operator.namespace" .) "kube-system" (not (empty .Values.namespaces))) -}}
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
    namespace: {{ include "acme-operator.namespace" .context }}
{{- end -}}

{{/* Port on which the solver answers challenges: SOLVER_PORT in crds/src/http01.rs. */}}
{{- define "acme-operator.solverPort" -}}
8089
{{- end -}}

{{/*
Returns the labels of an object. Argument: a list of the root context, the component, and the labels from values of the object, if any.
They win over the common ones. None of them replaces a label that selects Pods.
*/}}
{{- define "acme-operator.labels" -}}
{{- $ := index . 0 -}}
{{- $own := include "acme-operator.selector" . | fromYaml -}}
{{- $defaults := dict
  "app.kubernetes.io/version" $.Chart.AppVersion
  "app.kubernetes.io/managed-by" $.Release.Service
  "app.kubernetes.io/part-of" "acme-operator"
  "helm.sh/chart" (printf "%s-%s" $.Chart.Name $.Chart.Version) -}}
{{- $values := dict -}}
{{- if gt (len .) 2 }}{{ $values = index . 2 | default dict }}{{ end -}}
{{- toYaml (merge $own $values ($.Values.global.commonLabels | default dict) $defaults) -}}
{{- end -}}

{{/* Returns the labels that select the Pods of a component. Argument: a list of the root context and the component. */}}
{{- define "acme-operator.selector" -}}
{{- $ := index . 0 -}}
app.kubernetes.io/name: {{ include "acme-operator.name" $ }}
app.kubernetes.io/instance: {{ $.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{/*
Returns the reference of an image. Argument: a list of the root context, the values of the image, and the default repository. An empty
repository is the default, as in cert-manager's chart.
*/}}
{{- define "acme-operator.image" -}}
{{- $ := index . 0 -}}
{{- $default := index . 2 -}}
{{- with index . 1 -}}
{{- $repository := .repository | default $default -}}
{{- if .registry }}{{ $repository = printf "%s/%s" .registry $repository }}{{ end -}}
{{- if .digest -}}
{{ $repository }}@{{ .digest }}
{{- else -}}
{{ $repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Returns the reference of the operator's image. */}}
{{- define "acme-operator.operatorImage" -}}
{{- include "acme-operator.image" (list . .Values.image "localhost/operator") -}}
{{- end -}}

{{/* Returns the node selector of a Pod. Argument: a list of the root context and the component's own selector, which takes precedence. */}}
{{- define "acme-operator.nodeSelector" -}}
{{- $ := index . 0 -}}
{{- with merge (dict) (index . 1 | default dict) ($.Values.global.nodeSelector | default dict) -}}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{/* Returns what all Pods have in common. Argument: a list of the root context and the component's RuntimeClass. */}}
{{- define "acme-operator.podSettings" -}}
{{- $ := index . 0 -}}
{{- with $.Values.global.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $.Values.global.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with index . 1 | default $.Values.global.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{- if not (kindIs "invalid" $.Values.global.hostUsers) }}
hostUsers: {{ $.Values.global.hostUsers }}
{{- end }}
{{- end -}}

{{/* Returns the number of old ReplicaSets to keep, if it is set. */}}
{{- define "acme-operator.revisionHistoryLimit" -}}
{{- if not (kindIs "invalid" .Values.global.revisionHistoryLimit) }}
revisionHistoryLimit: {{ .Values.global.revisionHistoryLimit }}
{{- end }}
{{- end -}}

{{/* Returns the spec of a PodDisruptionBudget. Argument: a list of the root context, its values, and the component. */}}
{{- define "acme-operator.budget" -}}
{{- with index . 1 -}}
{{- if kindIs "invalid" .minAvailable }}
maxUnavailable: {{ kindIs "invalid" .maxUnavailable | ternary 1 .maxUnavailable }}
{{- else if not (kindIs "invalid" .maxUnavailable) }}
{{- fail "a PodDisruptionBudget has both minAvailable and maxUnavailable, but Kubernetes accepts one of them: remove the other" }}
{{- else }}
minAvailable: {{ .minAvailable }}
{{- end }}
{{- with .unhealthyPodEvictionPolicy }}
unhealthyPodEvictionPolicy: {{ . }}
{{- end }}
{{- end }}
selector:
  matchLabels: {{- include "acme-operator.selector" (list (index . 0) (index . 2)) | nindent 4 }}
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

{{- /* The peers of a NetworkPolicy that are everything except some networks. Some networks of Pods never match these by an ipBlock. */}}
{{- define "acme-operator.allExcept" -}}
{{- range $all, $isV6 := dict "0.0.0.0/0" false "::/0" true }}
{{- $except := list }}
{{- range $ }}{{ if eq (contains ":" .) $isV6 }}{{ $except = append $except . }}{{ end }}{{ end }}
- ipBlock:
    cidr: {{ $all | quote }}
    {{- with $except }}
    except: {{- toYaml . | nindent 6 }}
    {{- end }}
{{- end }}
- namespaceSelector: {}
{{- end -}}
