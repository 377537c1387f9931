{{- define "defender-ingest.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Short enough for a suffix: names of objects that are also labels have 63 letters at most. */}}
{{- define "defender-ingest.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "defender-ingest.selectorLabels" -}}
app.kubernetes.io/name: {{ include "defender-ingest.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "defender-ingest.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "defender-ingest.selectorLabels" . }}
app.kubernetes.io/version: {{ default .Chart.AppVersion .Values.image.tag | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "defender-ingest.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "defender-ingest.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "defender-ingest.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{/* The operator's configuration, and what the chart knows better: listeners, and where the files of Secrets are. */}}
{{- define "defender-ingest.config" -}}
{{- $values := .Values }}
{{- $config := deepCopy $values.config }}
{{- $own := dict "logs" (dict "format" "json") "listen" (dict "host" "0.0.0.0" "port" (int $values.service.port)) }}
{{- $secrets := "/run/secrets/defender-ingest" }}
{{- $entra := dict }}
{{- if eq $values.entra.credential "secret" }}
{{- $_ := set $entra "client_secret_file" (printf "%s/entra/%s" $secrets $values.entra.keys.secret) }}
{{- else if eq $values.entra.credential "certificate" }}
{{- $_ := set $entra "certificate_file" (printf "%s/entra/%s" $secrets $values.entra.keys.certificate) }}
{{- $_ := set $entra "certificate_key_file" (printf "%s/entra/%s" $secrets $values.entra.keys.certificateKey) }}
{{- else }}
{{- $_ := set $entra "federated_token_file" (printf "%s/entra/token" $secrets) }}
{{- end }}
{{- $_ := set $own "entra" $entra }}
{{- $keys := $values.kafka.keys }}
{{- $tls := dict }}
{{- range $setting, $key := dict "ca_file" $keys.ca "certificate_file" $keys.certificate "key_file" $keys.certificateKey }}
{{- if $key }}
{{- $_ := set $tls $setting (printf "%s/kafka/%s" $secrets $key) }}
{{- $_ := set $tls "enabled" true }}
{{- end }}
{{- end }}
{{- $sasl := dict }}
{{- range $setting, $key := dict "password_file" $keys.password "client_secret_file" $keys.clientSecret }}
{{- if $key }}
{{- $_ := set $sasl $setting (printf "%s/kafka/%s" $secrets $key) }}
{{- end }}
{{- end }}
{{- $kafka := dict }}
{{- if $tls }}{{ $_ := set $kafka "tls" $tls }}{{ end }}
{{- if $sasl }}{{ $_ := set $kafka "sasl" $sasl }}{{ end }}
{{- if $kafka }}{{ $_ := set $own "kafka" $kafka }}{{ end }}
{{- if $values.admin.enabled }}
{{- $admin := dict "host" "127.0.0.1" "port" (int $values.admin.port) }}
{{- if $values.admin.existingSecret }}
{{- $admin = dict "host" "0.0.0.0" "port" (int $values.admin.port) "token_file" (printf "%s/admin/%s" $secrets $values.admin.key) }}
{{- end }}
{{- $_ := set $own "admin" $admin }}
{{- end }}
{{- if $values.consent.enabled }}
{{- $_ := set $own "consent" (dict "host" "0.0.0.0" "port" (int $values.consent.port) "key_file" (printf "%s/consent/%s" $secrets $values.consent.key)) }}
{{- end }}
{{- toYaml (merge $config $own) }}
{{- end }}

{{/* Whether a path such as kafka.sasl.password is written: (list CONFIG PATH). */}}
{{- define "defender-ingest.written" -}}
{{- $here := first . }}
{{- range splitList "." (last .) }}
{{- $here = kindIs "map" $here | ternary (get (kindIs "map" $here | ternary $here dict) .) nil }}
{{- end }}
{{- if not (or (kindIs "invalid" $here) (eq (toString $here) "")) }}yes{{ end }}
{{- end }}

{{/* What a schema cannot say: each mistake names the values and the remedy. */}}
{{- define "defender-ingest.check" -}}
{{- $values := .Values }}
{{- range list "entra.client_secret" "entra.certificate" "entra.certificate_passphrase" "kafka.sasl.password" "kafka.sasl.client_secret" }}
{{- if include "defender-ingest.written" (list $values.config .) }}
{{- fail (printf "config.%s: no secret belongs in values; name a Secret in %s.existingSecret" . (splitList "." . | first)) }}
{{- end }}
{{- end }}
{{- range $written, $instead := dict "entra.client_secret_file" "entra.keys" "entra.certificate_file" "entra.keys" "entra.federated_token_file" "entra.credential" "listen.port" "service.port" "admin.port" "admin.port" "admin.token_file" "admin.key" "consent.port" "consent.port" "consent.key_file" "consent.key" }}
{{- if include "defender-ingest.written" (list $values.config $written) }}
{{- fail (printf "config.%s is set by the chart; remove it, and use %s" $written $instead) }}
{{- end }}
{{- end }}
{{- $grace := dig "shutdown" "grace_seconds" 25 $values.config }}
{{- if lt (float64 $values.terminationGracePeriodSeconds) (addf (float64 $grace) 5) }}
{{- fail (printf "terminationGracePeriodSeconds (%v) must be at least 5 more than config.shutdown.grace_seconds (%v): a stop would be cut off" $values.terminationGracePeriodSeconds $grace) }}
{{- end }}
{{- if and (ne $values.entra.credential "workload-identity") (not $values.entra.existingSecret) }}
{{- fail (printf "entra.existingSecret is needed for entra.credential: %s; make it with kubectl create secret generic NAME --from-file=%s=FILE" $values.entra.credential (eq $values.entra.credential "secret" | ternary $values.entra.keys.secret $values.entra.keys.certificate)) }}
{{- end }}
{{- range $name, $key := $values.kafka.keys }}
{{- if and $key (not $values.kafka.existingSecret) }}
{{- fail (printf "kafka.existingSecret is needed for kafka.keys.%s" $name) }}
{{- end }}
{{- end }}
{{- if $values.consent.enabled }}
{{- if not $values.consent.existingSecret }}
{{- fail (printf "consent.existingSecret is needed with consent.enabled; make it with kubectl create secret generic NAME --from-literal=%s=$(openssl rand -hex 32)" $values.consent.key) }}
{{- end }}
{{- if not (and (dig "consent" "url" "" $values.config) (dig "consent" "partner" "" $values.config)) }}
{{- fail "config.consent.url and config.consent.partner are needed with consent.enabled" }}
{{- end }}
{{- else if $values.consent.ingress.enabled }}
{{- fail "consent.ingress.enabled needs consent.enabled: there is no page without it" }}
{{- end }}
{{- $ports := list (int $values.service.port) }}
{{- range list $values.admin $values.consent }}
{{- if .enabled }}{{ $ports = append $ports (int .port) }}{{ end }}
{{- end }}
{{- if ne (len $ports) (len (uniq $ports)) }}
{{- fail "service.port, admin.port and consent.port must differ: each listener is for other people" }}
{{- end }}
{{- if and $values.admin.existingSecret (not $values.admin.enabled) }}
{{- fail "admin.existingSecret needs admin.enabled: there is no page without it" }}
{{- end }}
{{- $budget := $values.podDisruptionBudget }}
{{- if and $budget.enabled (eq (kindIs "invalid" $budget.maxUnavailable) (kindIs "invalid" $budget.minAvailable)) }}
{{- fail "exactly one of podDisruptionBudget.maxUnavailable and podDisruptionBudget.minAvailable is needed; set the other one to null" }}
{{- end }}
{{- if and $values.tenants.enabled (not $values.tenants.list) }}
{{- fail "tenants.list is empty: with tenants.enabled it names every tenant that is kept with the release" }}
{{- end }}
{{- end }}
