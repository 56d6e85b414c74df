{{/* Short name of the chart. */}}
{{- define "kubedistill.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* Name of the release's objects. */}}
{{- define "kubedistill.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "kubedistill.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "kubedistill.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels by which the operator's pods are selected; they never change. */}}
{{- define "kubedistill.selectorLabels" -}}
app.kubernetes.io/name: {{ include "kubedistill.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{/* Labels of every object. */}}
{{- define "kubedistill.labels" -}}
{{ include "kubedistill.selectorLabels" . }}
app.kubernetes.io/part-of: kubedistill
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* An image reference from {registry, repository, tag, digest}; takes (list image appVersion). */}}
{{- define "kubedistill.image" -}}
{{- $image := index . 0 -}}
{{- $tag := default (index . 1) $image.tag -}}
{{- $name := $image.repository -}}
{{- with $image.registry }}{{ $name = printf "%s/%s" . $name }}{{ end -}}
{{- if $image.digest }}{{ $name }}@{{ $image.digest }}{{ else }}{{ $name }}:{{ $tag }}{{ end -}}
{{- end -}}

{{- define "kubedistill.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "kubedistill.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Who the roles are bound to. */}}
{{- define "kubedistill.subjects" -}}
- kind: ServiceAccount
  name: {{ include "kubedistill.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end -}}

{{/* What the operator may do where it serves jobs. It reads no Secret: only the stages' pods do. */}}
{{- define "kubedistill.servingRules" -}}
- apiGroups: [kubedistill.io]
  resources: [distillationjobs]
  # patch: the finalizer of an external workspace; delete: ttlSecondsAfterFinished
  verbs: [get, list, watch, patch, delete]
- apiGroups: [kubedistill.io]
  resources: [distillationjobs/status]
  verbs: [update]
- apiGroups: [kubedistill.io]
  resources: [distillationjobs/finalizers]
  # asked for by the admission plugin OwnerReferencesPermissionEnforcement
  verbs: [update]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, watch, create, delete]
{{- if not .Values.rollouts.enabled }}
- apiGroups: [""]
  resources: [services]
  # the names of pods that train together; get: one that is there already
  verbs: [get, create]
{{- end }}
- apiGroups: [""]
  resources: [events]
  # why a pod does not start
  verbs: [get, list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [get, create, patch]
{{- if .Values.rollouts.enabled }}
- apiGroups: [kubedistill.io]
  resources: [distilledmodelrollouts]
  # patch: the finalizer that hands traffic back
  verbs: [get, list, watch, patch]
- apiGroups: [kubedistill.io]
  resources: [distilledmodelrollouts/status]
  verbs: [update]
- apiGroups: [kubedistill.io]
  resources: [distilledmodelrollouts/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [get, list, watch]
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  # create and delete: a route of the rollout's own; patch: two weights of any, and what is kept
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [gateway.networking.k8s.io]
  resources: [gateways]
  verbs: [get, list, watch]
{{- end }}
{{- end -}}
