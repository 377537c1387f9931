{{/* What the daemon and the Job that applies tenants share: the same image, rights, configuration and Secrets. */}}
{{- define "defender-ingest.pod" -}}
serviceAccountName: {{ include "defender-ingest.serviceAccountName" . }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "defender-ingest.container" -}}
image: {{ include "defender-ingest.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
{{- with .Values.extraEnv }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Folders, never single files: what is mounted by subPath is not exchanged when its Secret is. */}}
{{- define "defender-ingest.mounts" -}}
- name: config
  mountPath: /etc/defender-ingest
  readOnly: true
- name: entra
  mountPath: /run/secrets/defender-ingest/entra
  readOnly: true
{{- if .Values.kafka.existingSecret }}
- name: kafka
  mountPath: /run/secrets/defender-ingest/kafka
  readOnly: true
{{- end }}
{{- if .Values.admin.existingSecret }}
- name: admin
  mountPath: /run/secrets/defender-ingest/admin
  readOnly: true
{{- end }}
{{- if .Values.consent.enabled }}
- name: consent
  mountPath: /run/secrets/defender-ingest/consent
  readOnly: true
{{- end }}
- name: tmp
  mountPath: /tmp
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "defender-ingest.volumes" -}}
- name: config
  configMap:
    name: {{ include "defender-ingest.fullname" . }}
- name: entra
{{- if eq .Values.entra.credential "workload-identity" }}
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken:
          path: token
          audience: {{ .Values.entra.workloadIdentity.audience }}
          expirationSeconds: {{ int .Values.entra.workloadIdentity.expirationSeconds }}
{{- else }}
  secret:
    secretName: {{ .Values.entra.existingSecret }}
    defaultMode: 0440
{{- end }}
{{- with .Values.kafka.existingSecret }}
- name: kafka
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with .Values.admin.existingSecret }}
- name: admin
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- if .Values.consent.enabled }}
- name: consent
  secret:
    secretName: {{ .Values.consent.existingSecret }}
    defaultMode: 0440
{{- end }}
- name: tmp
  emptyDir:
    sizeLimit: 16Mi
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}
