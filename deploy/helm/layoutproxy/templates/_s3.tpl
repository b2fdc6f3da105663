{{- /* The flags of serve for the connection to the bucket. The template fails if values contradict each other. */}}
{{- define "layoutproxy.s3Flags" -}}
{{- with .Values.s3 }}
{{- if not .url }}
{{- if or .store .endpoint .credentials.secretName .ca.secretName .redirect .publicEndpoint }}
{{- fail "s3.url: name the bucket that the other values of s3 are for, as s3://BUCKET/PREFIX" }}
{{- end }}
{{- else }}
{{- if $.Values.bundle.volume }}
{{- fail "s3.url and bundle.volume: set one of them, as only one is served" }}
{{- end }}
{{- if and .publicEndpoint (not .redirect) }}
{{- fail "s3.publicEndpoint: it has an effect only with s3.redirect" }}
{{- end }}
{{- with .endpoint }}
- {{ printf "--s3-endpoint=%s" . | quote }}
{{- end }}
{{- with .region }}
- {{ printf "--s3-region=%s" . | quote }}
{{- end }}
{{- if .pathStyle }}
- --s3-path-style
{{- end }}
{{- if .ca.secretName }}
- --s3-ca-file=/s3-ca/{{ .ca.key }}
{{- end }}
{{- if .redirect }}
- --s3-redirect
{{- with .publicEndpoint }}
- {{ printf "--s3-public-endpoint=%s" . | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
