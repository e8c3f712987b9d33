{{- define "churnwatch.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- /* At most 52 characters: a StatefulSet's pods carry a hash of its name and more in a label of 63. */}}
{{- define "churnwatch.fullname" -}}
{{- $name := include "churnwatch.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "churnwatch.selectorLabels" -}}
app.kubernetes.io/name: {{ include "churnwatch.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "churnwatch.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "churnwatch.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "churnwatch.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "churnwatch.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "churnwatch.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- /* Makes whole numbers of a dict integers, in place: values are read as floats, and TOML tells the two apart. */}}
{{- define "churnwatch.integers" -}}
{{- $table := . }}
{{- range $key, $value := $table }}
{{- if kindIs "map" $value }}
{{- include "churnwatch.integers" $value }}
{{- else if kindIs "float64" $value }}
{{- if eq (floor $value) $value }}
{{- $_ := set $table $key (int64 $value) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "churnwatch.toml" -}}
{{- $config := deepCopy .Values.config }}
{{- $snapshot := default dict $config.snapshot }}
{{- $http := default dict $config.http }}
{{- if hasKey $snapshot "store" }}
{{- fail "config.snapshot.store: set snapshots.objectStore.url or snapshots.volume instead" }}
{{- end }}
{{- if or (hasKey $http "listen") (hasKey $http "web_config_file") }}
{{- fail "config.http.listen and config.http.web_config_file are the chart's to set: the port is 8642, see webConfig for the other" }}
{{- end }}
{{- if hasKey (default dict $config.kafka.librdkafka) "group.instance.id" }}
{{- fail "config.kafka.librdkafka.group.instance.id: with the same one in all pods each would end the one before; see staticMembership" }}
{{- end }}
{{- $_ := set $snapshot "store" (default "file:///var/lib/churnwatch" .Values.snapshots.objectStore.url) }}
{{- $_ := set $config "snapshot" $snapshot }}
{{- if .Values.webConfig.existingSecret }}
{{- $_ := set $http "web_config_file" (printf "/etc/churnwatch/web/%s" .Values.webConfig.key) }}
{{- $_ := set $config "http" $http }}
{{- end }}
{{- include "churnwatch.integers" $config }}
{{- toToml $config }}
{{- end }}

{{- /* In seconds; as the process has it, which waits for snapshots as long as the session and 10 s more for the group. */}}
{{- define "churnwatch.sessionSeconds" -}}
{{- $librdkafka := default dict .Values.config.kafka.librdkafka }}
{{- div (add (int64 (default 45000 (index $librdkafka "session.timeout.ms"))) 999) 1000 }}
{{- end }}

{{- define "churnwatch.graceSeconds" -}}
{{- $session := int (include "churnwatch.sessionSeconds" .) }}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds }}
{{- add $session 45 }}
{{- else }}
{{- $grace := int .Values.terminationGracePeriodSeconds }}
{{- if lt $grace (int (add $session 15)) }}
{{- fail (printf "terminationGracePeriodSeconds: %d is too short to drain and to write the last snapshots, which may take session.timeout.ms (%d s) and 15 s more" $grace $session) }}
{{- end }}
{{- $grace }}
{{- end }}
{{- end }}

{{- define "churnwatch.kafkaPorts" -}}
{{- $ports := list }}
{{- range .Values.config.kafka.brokers }}
{{- $ports = append $ports (regexFind "[0-9]+$" .) }}
{{- end }}
{{- range .Values.networkPolicy.extraKafkaPorts }}
{{- $ports = append $ports (toString .) }}
{{- end }}
{{- $ports | uniq | sortAlpha | join "," }}
{{- end }}

{{- /* Whether librdkafka asks an identity provider for tokens. */}}
{{- define "churnwatch.oidc" -}}
{{- if eq "oidc" (lower (toString (index (default dict .Values.config.kafka.librdkafka) "sasl.oauthbearer.method"))) }}true{{ end }}
{{- end }}

{{- /* The groups of a file of rules, with what prometheusRule says of alerts, windows and bounds. Recorded series keep their labels. */}}
{{- define "churnwatch.rules" -}}
{{- $values := .values }}
{{- $text := .text }}
{{- with $values.grafanaUrl }}
{{- $default := "{{ with $externalLabels.grafana_url }}{{ . }}{{ else }}http://localhost:3000{{ end }}" }}
{{- $text = replace $default (trimSuffix "/" .) $text }}
{{- end }}
{{- $groups := list }}
{{- range $group := (fromYaml $text).groups }}
{{- $rules := list }}
{{- range $rule := $group.rules }}
{{- if eq (default "" $rule.record) "churnwatch:alert_window:info" }}
{{- $labels := set $rule.labels "window" (get $values.windows $rule.labels.alert_window) }}
{{- $rules = append $rules (set $rule "labels" $labels) }}
{{- else if eq (default "" $rule.record) "churnwatch:first_bound:ratio" }}
{{- $bound := get $values.firstBounds (eq $rule.labels.of "churn" | ternary $rule.labels.alert_window "involuntary") }}
{{- $rules = append $rules (set $rule "expr" (regexReplaceAll "^[0-9.]+" $rule.expr (toString $bound))) }}
{{- else if not (hasKey $rule "alert") }}
{{- $rules = append $rules $rule }}
{{- else if not (has $rule.alert $values.disabled) }}
{{- $labels := merge (deepCopy $rule.labels) $values.additionalLabels }}
{{- $rules = append $rules (set $rule "labels" $labels) }}
{{- end }}
{{- end }}
{{- with $rules }}
{{- $groups = append $groups (set $group "rules" .) }}
{{- end }}
{{- end }}
{{- toYaml (dict "groups" $groups) }}
{{- end }}
