{{- define "chordial.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "chordial.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "chordial.name" . -}}
{{- $base := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- printf "%s-operator" ($base | trunc 40 | trimSuffix "-") -}}
{{- end -}}
{{- end -}}

{{- define "chordial.serviceAccountName" -}}
{{- default (ternary (include "chordial.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "chordial.selectorLabels" -}}
app.kubernetes.io/name: {{ include "chordial.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "chordial.labels" -}}
{{ include "chordial.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: chordial
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* An image by registry, repository, digest or tag: (dict "image" ... "root" $) */}}
{{- define "chordial.image" -}}
{{- $registry := .root.Values.global.imageRegistry | trimSuffix "/" -}}
{{- $repository := ternary .image.repository (printf "%s/%s" $registry .image.repository) (empty $registry) -}}
{{- if .image.digest -}}
{{- printf "%s@%s" $repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository (default .root.Chart.AppVersion .image.tag) -}}
{{- end -}}
{{- end -}}

{{/* The namespaces that the operator watches, as a list in JSON; empty: all. */}}
{{- define "chordial.namespaces" -}}
{{- if .Values.clusterWide -}}
[]
{{- else -}}
{{- default (list .Release.Namespace) .Values.watchNamespaces | uniq | toJson -}}
{{- end -}}
{{- end -}}

{{/* What the operator does in each namespace whose overlays it runs. */}}
{{- define "chordial.rules" -}}
# The four kinds: read and watch; the operator writes status, never spec.
- apiGroups: [chordial.dev]
  resources: [overlays, bootstrapsets, relaysets, sipusers]
  verbs: [get, list, watch]
- apiGroups: [chordial.dev]
  resources: [overlays/status, bootstrapsets/status, relaysets/status, sipusers/status]
  verbs: [get, patch, update]
# The first Overlay of the chart, and clusters that ask for it before an owner reference is set.
- apiGroups: [chordial.dev]
  resources: [overlays, bootstrapsets]
  verbs: [create, patch]
- apiGroups: [chordial.dev]
  resources: [overlays/finalizers, bootstrapsets/finalizers, relaysets/finalizers, sipusers/finalizers]
  verbs: [update]
# A peer is a StatefulSet of one with a volume of its own; server-side apply needs create and patch.
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch, update, delete]
- apiGroups: [""]
  resources: [persistentvolumeclaims, configmaps, services, serviceaccounts]
  verbs: [get, list, watch, create, patch, update, delete]
# Pods are watched, evicted one at a time in an upgrade, and deleted when their Node is lost.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, delete]
- apiGroups: [""]
  resources: [pods/eviction]
  verbs: [create]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, update, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, update, delete]
# Secrets are read by name and never listed: passwords of SipUsers, the admin certificate it writes.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch, update, delete]
- apiGroups: ["", events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
