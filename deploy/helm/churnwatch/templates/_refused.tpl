{{- /* What values.schema.json cannot see: values that would do nothing, or harm, beside others. */}}
{{- define "churnwatch.refused" -}}
{{- $web := .Values.webConfig }}
{{- $https := eq $web.scheme "HTTPS" }}
{{- if and (not $web.existingSecret) $web.tlsSecret }}
{{- fail "webConfig.tlsSecret: without webConfig.existingSecret nobody reads the certificate, and the port would be plain HTTP; name a Secret whose web-config.yml is `tls_server_config: {cert_file: tls.crt, key_file: tls.key}`" }}
{{- end }}
{{- if and (not $web.existingSecret) $https }}
{{- fail "webConfig.scheme: HTTPS without webConfig.existingSecret: probes would ask a plain port for TLS and restart the pod for ever; name a Secret with the web configuration, and the certificate in webConfig.tlsSecret" }}
{{- end }}
{{- if and $web.tlsSecret (not $https) }}
{{- fail "webConfig.scheme: with a certificate in webConfig.tlsSecret it has to be HTTPS, or probes would ask without TLS and restart the pod for ever" }}
{{- end }}

{{- if and (not .Values.existingSecret) (contains "/etc/churnwatch/secrets/" (toJson .Values.config)) }}
{{- fail "existingSecret: config names files in /etc/churnwatch/secrets, where the keys of that Secret would stand; name it" }}
{{- end }}

{{- $store := .Values.snapshots.objectStore }}
{{- $volume := .Values.snapshots.volume }}
{{- if and $store.existingSecret (not $store.url) }}
{{- fail "snapshots.objectStore.existingSecret: without snapshots.objectStore.url snapshots would go to a volume; set it, or leave the Secret out" }}
{{- end }}
{{- range $key := list "existingClaim" "storageClassName" }}
{{- if and $store.url (get $volume $key) }}
{{- fail (printf "snapshots.volume.%s: with snapshots.objectStore.url there is no volume; leave one of the two out" $key) }}
{{- end }}
{{- end }}
{{- if and $volume.existingClaim $volume.storageClassName }}
{{- fail "snapshots.volume.storageClassName: that of snapshots.volume.existingClaim is settled; leave one of the two out" }}
{{- end }}
{{- if and .Values.serviceAccount.annotations (not .Values.serviceAccount.create) }}
{{- fail "serviceAccount.annotations: the chart annotates no account that it does not make; set serviceAccount.create, or annotate the account yourself and leave them out" }}
{{- end }}

{{- $strategy := .Values.strategy }}
{{- if and (eq $strategy.type "Recreate") (not $store.url) }}
{{- fail "strategy.type: Recreate is for a Deployment; without snapshots.objectStore.url there is a StatefulSet, which replaces one pod after the other and none before it has ended" }}
{{- end }}
{{- with $strategy.rollingUpdate }}
{{- $none := list "0" "0%" }}
{{- if and (eq $strategy.type "RollingUpdate") (has (toString .maxSurge) $none) (has (toString .maxUnavailable) $none) }}
{{- fail "strategy.rollingUpdate: with maxSurge and maxUnavailable both 0 no pod could ever be replaced; set one of them to 1" }}
{{- end }}
{{- end }}

{{- if and .Values.keda.enabled (ne (int .Values.replicas) 1) }}
{{- fail "replicas: keda.enabled decides on the number of instances; leave replicas out, and see keda.minReplicas and keda.maxReplicas" }}
{{- end }}
{{- if and .Values.keda.enabled (gt (int .Values.keda.minReplicas) (int .Values.keda.maxReplicas)) }}
{{- fail "keda.minReplicas: more than keda.maxReplicas" }}
{{- end }}

{{- if and .Values.probes.httpHeaders (ne .Values.probes.handler "httpGet") }}
{{- fail "probes.httpHeaders: only probes.handler httpGet sends headers; leave them out, or set it" }}
{{- end }}
{{- $monitor := .Values.podMonitor }}
{{- if and $monitor.enabled $monitor.tlsConfig (ne "https" (default (lower $web.scheme) $monitor.scheme)) }}
{{- fail "podMonitor.tlsConfig: scrapes would be plain HTTP and pay no heed to it; set webConfig.scheme to HTTPS (see webConfig), or podMonitor.scheme to https where somebody else ends TLS in front of the port" }}
{{- end }}

{{- $settled := dict
  "CHURNWATCH__SNAPSHOT__STORE" "set snapshots.objectStore.url or snapshots.volume instead"
  "CHURNWATCH__HTTP__WEB_CONFIG_FILE" "see webConfig"
}}
{{- range .Values.extraEnv }}
{{- $name := .name }}
{{- with get $settled $name }}
{{- fail (printf "extraEnv.%s: the chart sets it; %s" $name .) }}
{{- end }}
{{- if and $.Values.log.level (eq $name "RUST_LOG") }}
{{- fail "log.level: RUST_LOG in extraEnv goes before it; leave one of the two out" }}
{{- end }}
{{- end }}
{{- end }}
