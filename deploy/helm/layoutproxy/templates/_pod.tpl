{{- /* The pod of both modes. They differ in the volume, the port of the node, and the rules for
replicas. */}}
{{- define "layoutproxy.pod" -}}
metadata:
  labels:
    {{- include "layoutproxy.labels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    {{- with .Values.supplementalGroups }}
    supplementalGroups:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: layoutproxy
      image: {{ include "layoutproxy.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - serve
        - --listen=:5000
        - --admin-listen=:5580
        - --cache-dir=/cache
        {{- range .Values.rootRepositories }}
        - {{ printf "--root-repository=%s" . | quote }}
        {{- end }}
        {{- if .Values.tls.secretName }}
        - --tls-cert=/tls/tls.crt
        - --tls-key=/tls/tls.key
        {{- if .Values.tls.clientCA }}
        - --client-ca=/tls/ca.crt
        {{- end }}
        {{- end }}
        {{- if .Values.htpasswd.secretName }}
        - --htpasswd=/htpasswd/{{ .Values.htpasswd.key }}
        {{- end }}
        {{- include "layoutproxy.s3Flags" . | nindent 8 }}
        {{- range .Values.args }}
        - {{ . | quote }}
        {{- end }}
        {{- if .Values.s3.store }}
        - {{ printf "--store=%s" .Values.s3.url | quote }}
        {{- else }}
        - {{ .Values.s3.url | default "/bundle" | quote }}
        {{- end }}
      {{- if or .Values.env .Values.s3.credentials.secretName }}
      env:
        {{- if and .Values.s3.url .Values.s3.credentials.secretName }}
        {{- range $name, $key := dict "AWS_ACCESS_KEY_ID" .Values.s3.credentials.accessKeyIDKey "AWS_SECRET_ACCESS_KEY" .Values.s3.credentials.secretAccessKeyKey }}
        - name: {{ $name }}
          valueFrom:
            secretKeyRef:
              name: {{ $.Values.s3.credentials.secretName }}
              key: {{ $key }}
        {{- end }}
        {{- end }}
        {{- with .Values.env }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
      ports:
        - name: registry
          containerPort: 5000
          {{- if and (eq .Values.mode "DaemonSet") .Values.hostPort.enabled }}
          hostPort: {{ .Values.hostPort.port }}
          {{- with .Values.hostPort.ip }}
          hostIP: {{ . }}
          {{- end }}
          {{- end }}
        - name: admin
          containerPort: 5580
      # Nothing listens before the first scan of the bundle ends.
      startupProbe:
        httpGet: {path: /readyz, port: admin}
        periodSeconds: 5
        failureThreshold: {{ .Values.startupFailureThreshold }}
      readinessProbe:
        httpGet: {path: /readyz, port: admin}
        periodSeconds: 5
        timeoutSeconds: 3
      livenessProbe:
        httpGet: {path: /healthz, port: admin}
        periodSeconds: 20
        timeoutSeconds: 5
      {{- if and (eq .Values.mode "Deployment") .Values.shutdownDelaySeconds (semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version) }}
      lifecycle:
        preStop:
          sleep:
            seconds: {{ .Values.shutdownDelaySeconds }}
      {{- end }}
      {{- with .Values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities:
          drop: [ALL]
      volumeMounts:
        {{- if not .Values.s3.url }}
        - name: bundle
          mountPath: /bundle
          readOnly: true
          # So that the pod sees a disk that is mounted on the node later.
          {{- if and (not .Values.bundle.volume) (eq .Values.mode "DaemonSet") }}
          mountPropagation: HostToContainer
          {{- end }}
        {{- end }}
        - name: cache
          mountPath: /cache
        {{- if and .Values.s3.url .Values.s3.ca.secretName }}
        - name: s3-ca
          mountPath: /s3-ca
          readOnly: true
        {{- end }}
        {{- if .Values.tls.secretName }}
        - name: tls
          mountPath: /tls
          readOnly: true
        {{- end }}
        {{- if .Values.htpasswd.secretName }}
        - name: htpasswd
          mountPath: /htpasswd
          readOnly: true
        {{- end }}
  volumes:
    {{- if not .Values.s3.url }}
    - name: bundle
      {{- if .Values.bundle.volume }}
      {{- toYaml .Values.bundle.volume | nindent 6 }}
      {{- else if eq .Values.mode "Deployment" }}
      {{- fail "bundle.volume: a Deployment needs a volume with the bundle, as {persistentVolumeClaim: {claimName: bundle}}, or a bucket (s3.url)" }}
      {{- else }}
      hostPath:
        path: {{ required "bundle.hostPath or bundle.volume: say where the bundle is" .Values.bundle.hostPath | quote }}
        type: Directory
      {{- end }}
    {{- end }}
    - name: cache
      emptyDir:
        sizeLimit: {{ .Values.cache.sizeLimit }}
    {{- if and .Values.s3.url .Values.s3.ca.secretName }}
    - name: s3-ca
      secret:
        secretName: {{ .Values.s3.ca.secretName }}
    {{- end }}
    {{- with .Values.tls.secretName }}
    - name: tls
      secret:
        secretName: {{ . }}
    {{- end }}
    {{- with .Values.htpasswd.secretName }}
    - name: htpasswd
      secret:
        secretName: {{ . }}
    {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if and (eq .Values.mode "Deployment") .Values.topologySpread.keys }}
  topologySpreadConstraints:
    {{- range .Values.topologySpread.keys }}
    - topologyKey: {{ . }}
      maxSkew: 1
      whenUnsatisfiable: {{ $.Values.topologySpread.whenUnsatisfiable }}
      labelSelector:
        matchLabels:
          {{- include "layoutproxy.selector" $ | nindent 10 }}
    {{- end }}
  {{- end }}
{{- end }}
