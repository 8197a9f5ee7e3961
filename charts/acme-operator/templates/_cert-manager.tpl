{{/* What cert-manager's values mean here: those that have no effect, and those that must not be ignored. */}}

{{/* Returns a line for each value that is set and has no effect. */}}
{{- define "acme-operator.withoutEffect" -}}
{{- range $path, $instead := .Files.Get "files/values-without-effect.yaml" | fromYaml -}}
{{- $value := $.Values -}}
{{- range splitList "." $path -}}
{{- $value = kindIs "map" $value | ternary (get $value .) "" -}}
{{- end -}}
{{- if and (eq $path "creator") (eq (toString $value) "helm") }}{{ $value = "" }}{{ end -}}
{{- if and (eq $path "global.podSecurityPolicy") $value }}{{ $value = ternary $value "" (get $value "enabled" | default false) }}{{ end -}}
{{- if $value }}
{{ $path }}{{ if kindIs "map" $value }} ({{ keys $value | sortAlpha | join ", " }}){{ end }}: {{ $instead }}.
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Fails if a value of cert-manager would do harm, or would be ignored at the user's cost. */}}
{{- define "acme-operator.check" -}}
{{- $own := and .Values.image.repository (ne .Values.image.repository "localhost/operator") -}}
{{- with .Values.image -}}
{{- $images := "set image.repository and solver.image.repository to the images of this chart, and remove the other values of image" -}}
{{- if regexMatch "(^|/)cert-manager[^/]*$" (.repository | default "") -}}
{{- fail (printf "image.repository is %q, an image of cert-manager, which is another program: %s" .repository $images) -}}
{{- end -}}
{{- if and .registry (not $own) -}}
{{- fail (printf "image.registry is %q, but image.repository does not name the operator's image there: %s" .registry $images) -}}
{{- end -}}
{{- if and .digest (not $own) -}}
{{- fail (printf "image.digest is %q, but image.repository does not name the operator's image, so it would be the digest of an image of cert-manager: %s" .digest $images) -}}
{{- end -}}
{{- if and (regexMatch "^v[0-9]" (.tag | default "")) (not $own) -}}
{{- fail (printf "image.tag is %q, a version of cert-manager, which this chart's image does not have: %s" .tag $images) -}}
{{- end -}}
{{- end -}}
{{- $tls := "metrics are served without TLS only, and would be unencrypted: remove the setting, and limit who may connect with networkPolicy.metricsFrom" -}}
{{- with (.Values.config | default dict).metricsTLSConfig -}}
{{- range $kind, $members := pick . "filesystem" "dynamic" -}}
{{- range $name, $value := omit ($members | default dict) "leafDuration" -}}
{{- if $value }}{{ fail (printf "config.metricsTLSConfig.%s.%s is set, but %s" $kind $name $tls) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range .Values.extraArgs -}}
{{- if regexMatch "^--metrics-(tls-cert-file|tls-private-key-file|dynamic-serving-ca-|dynamic-serving-dns-names)" . -}}
{{- fail (printf "extraArgs has %q, but %s" . $tls) -}}
{{- end -}}
{{- end -}}
{{- end -}}
