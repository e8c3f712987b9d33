{{- /* The pod of either workload. */}}
{{- define "churnwatch.pod" -}}
metadata:
  labels:
    {{- include "churnwatch.selectorLabels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # The configuration is read at the start alone.
    checksum/config: {{ include "churnwatch.toml" . | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "churnwatch.serviceAccountName" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "churnwatch.graceSeconds" . }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  containers:
    - name: churnwatch
      image: {{ include "churnwatch.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - run
        - --config=/etc/churnwatch/config/churnwatch.toml
        - --log-format={{ .Values.log.format }}
      {{- $static := and .Values.staticMembership (not .Values.snapshots.objectStore.url) }}
      {{- if or $static .Values.log.level .Values.extraEnv }}
      env:
        {{- if $static }}
        - name: CHURNWATCH__KAFKA__LIBRDKAFKA__GROUP_INSTANCE_ID
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
        {{- end }}
        {{- with .Values.log.level }}
        - name: RUST_LOG
          value: {{ . | quote }}
        {{- end }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
      {{- $credentials := and .Values.snapshots.objectStore.url .Values.snapshots.objectStore.existingSecret }}
      {{- if or $credentials .Values.extraEnvFrom }}
      envFrom:
        {{- with $credentials }}
        - secretRef:
            name: {{ . }}
        {{- end }}
        {{- with .Values.extraEnvFrom }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
      ports:
        - name: http
          containerPort: 8642
          protocol: TCP
      {{- range $probe, $path := dict "startup" "/healthz" "liveness" "/healthz" "readiness" "/readyz" }}
      {{ $probe }}Probe:
        {{- if eq $.Values.probes.handler "httpGet" }}
        httpGet:
          path: {{ $path }}
          port: http
          scheme: {{ $.Values.webConfig.scheme }}
          {{- with $.Values.probes.httpHeaders }}
          httpHeaders:
            {{- toYaml . | nindent 12 }}
          {{- end }}
        {{- else }}
        tcpSocket:
          port: http
        {{- end }}
        {{- toYaml (index $.Values.probes $probe) | nindent 8 }}
      {{- end }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/churnwatch/config
          readOnly: true
        {{- if .Values.existingSecret }}
        - name: secrets
          mountPath: /etc/churnwatch/secrets
          readOnly: true
        {{- end }}
        {{- if .Values.webConfig.existingSecret }}
        - name: web
          mountPath: /etc/churnwatch/web
          readOnly: true
        {{- end }}
        {{- if not .Values.snapshots.objectStore.url }}
        - name: snapshots
          mountPath: /var/lib/churnwatch
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "churnwatch.fullname" . }}
    {{- with .Values.existingSecret }}
    - name: secrets
      secret:
        secretName: {{ . }}
        # Readable by the group of the pod, nobody else.
        defaultMode: 0440
    {{- end }}
    {{- if .Values.webConfig.existingSecret }}
    - name: web
      projected:
        defaultMode: 0440
        sources:
          - secret:
              name: {{ .Values.webConfig.existingSecret }}
          {{- with .Values.webConfig.tlsSecret }}
          - secret:
              name: {{ . }}
          {{- end }}
    {{- end }}
    {{- if not .Values.snapshots.objectStore.url }}
    {{- with .Values.snapshots.volume.existingClaim }}
    - name: snapshots
      persistentVolumeClaim:
        claimName: {{ . }}
    {{- end }}
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
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    - {{ toYaml . | nindent 6 | trim }}
      {{- if not (hasKey . "labelSelector") }}
      labelSelector:
        matchLabels:
          {{- include "churnwatch.selectorLabels" $ | nindent 10 }}
      {{- end }}
    {{- end }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
{{- end }}
