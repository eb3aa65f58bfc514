{{/*
The name of the application, for labels.
*/}}
{{- define "seccomp-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride -}}
{{- end -}}

{{/*
The stem of every name. At most 52 characters, so that the longest suffix (-controller, -webhook-ca) still makes a DNS label of 63;
a longer one keeps its first 43 and gets a hash, so that two long release names that begin alike stay apart. It begins
with a letter, as a Service's name must.
*/}}
{{- define "seccomp-operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else -}}
{{- $name := include "seccomp-operator.name" . -}}
{{- $release := replace "." "-" .Release.Name -}}
{{- $full := printf "%s-%s" $release $name -}}
{{- if contains $name $release -}}
{{- $full = $release -}}
{{- end -}}
{{- if regexMatch "^[0-9]" $full -}}
{{- $full = printf "%s-%s" $name $release -}}
{{- end -}}
{{- if gt (len $full) 52 -}}
{{- $full = printf "%s-%s" (trunc 43 $full | trimSuffix "-") (sha256sum $full | trunc 8) -}}
{{- end -}}
{{- $full -}}
{{- end -}}
{{- end -}}

{{- define "seccomp-operator.controller.fullname" -}}
{{ include "seccomp-operator.fullname" . }}-controller
{{- end -}}

{{- define "seccomp-operator.agent.fullname" -}}
{{ include "seccomp-operator.fullname" . }}-agent
{{- end -}}

{{- define "seccomp-operator.recorder.fullname" -}}
{{ include "seccomp-operator.fullname" . }}-recorder
{{- end -}}

{{- define "seccomp-operator.audit.fullname" -}}
{{ include "seccomp-operator.fullname" . }}-audit
{{- end -}}

{{- define "seccomp-operator.webhook.fullname" -}}
{{ include "seccomp-operator.fullname" . }}-webhook
{{- end -}}

{{/*
The Secret with the webhooks' certificate authority. The controller makes and keeps it; it is not part of the release. With
cert-manager, the Secret with the serving certificate, which cert-manager makes and keeps.
*/}}
{{- define "seccomp-operator.webhook.secretName" -}}
{{ include "seccomp-operator.fullname" . }}-webhook-{{ .Values.webhook.certManager.enabled | ternary "tls" "ca" }}
{{- end -}}

{{- define "seccomp-operator.log.configMapName" -}}
{{ include "seccomp-operator.fullname" . }}-log
{{- end -}}

{{/*
The name of a cluster-scoped object. It ends with the namespace, so that releases of one name in several namespaces stay apart:
a namespace has no dot in it. Call it with (dict "root" $ "name" "the name it would have in the namespace").
*/}}
{{- define "seccomp-operator.clusterName" -}}
{{ .name }}.{{ .root.Release.Namespace }}
{{- end -}}

{{/*
The name of both webhook configurations.
*/}}
{{- define "seccomp-operator.webhook.configurationName" -}}
{{ include "seccomp-operator.clusterName" (dict "root" . "name" (include "seccomp-operator.fullname" .)) }}
{{- end -}}

{{- define "seccomp-operator.controller.serviceAccountName" -}}
{{- default (include "seccomp-operator.controller.fullname" .) .Values.controller.serviceAccount.name -}}
{{- end -}}

{{- define "seccomp-operator.agent.serviceAccountName" -}}
{{- default (include "seccomp-operator.agent.fullname" .) .Values.agent.serviceAccount.name -}}
{{- end -}}

{{- define "seccomp-operator.recorder.serviceAccountName" -}}
{{- default (include "seccomp-operator.recorder.fullname" .) .Values.recorder.serviceAccount.name -}}
{{- end -}}

{{- define "seccomp-operator.audit.serviceAccountName" -}}
{{- default (include "seccomp-operator.audit.fullname" .) .Values.audit.serviceAccount.name -}}
{{- end -}}

{{/*
The labels that select a component's pods; they never change within a release. Call it with (dict "root" $ "component" "agent").
*/}}
{{- define "seccomp-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "seccomp-operator.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .component | quote }}
{{- end -}}

{{/*
The labels of an object: what selects, what Kubernetes recommends, and commonLabels where they do not collide with those.
Call it with (dict "root" $ "component" "agent").
*/}}
{{- define "seccomp-operator.labels" -}}
{{- $labels := include "seccomp-operator.selectorLabels" . | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/part-of" "seccomp-operator" -}}
{{- $_ := set $labels "app.kubernetes.io/version" (.root.Chart.AppVersion | replace "+" "_") -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- toYaml (merge $labels .root.Values.commonLabels) -}}
{{- end -}}

{{/*
The labels of a component's pods. Without the chart's version, so that a new chart alone restarts nothing.
Call it with (dict "root" $ "component" "agent").
*/}}
{{- define "seccomp-operator.podLabels" -}}
{{- $labels := include "seccomp-operator.selectorLabels" . | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/part-of" "seccomp-operator" -}}
{{- toYaml (merge $labels (get .root.Values .component).podLabels .root.Values.commonLabels) -}}
{{- end -}}

{{/*
A component's image: `image`, with what the component's own `image` states on top. A tag or digest of its own replaces
both, since a digest belongs to one tag of one repository.
Call it with (dict "root" $ "component" "agent").
*/}}
{{- define "seccomp-operator.image" -}}
{{- $shared := .root.Values.image -}}
{{- $own := (get .root.Values .component).image -}}
{{- $registry := default $shared.registry $own.registry -}}
{{- $repository := default $shared.repository $own.repository -}}
{{- $tag := $shared.tag -}}
{{- $digest := $shared.digest -}}
{{- if or $own.tag $own.digest -}}
{{- $tag = $own.tag -}}
{{- $digest = $own.digest -}}
{{- end -}}
{{- if $registry }}{{ $registry }}/{{ end -}}
{{- $repository -}}
{{- if or $tag (not $digest) }}:{{ default .root.Chart.AppVersion $tag }}{{ end -}}
{{- if $digest }}@{{ $digest }}{{ end -}}
{{- end -}}

{{- define "seccomp-operator.imagePullPolicy" -}}
{{- default .root.Values.image.pullPolicy (get .root.Values .component).image.pullPolicy -}}
{{- end -}}

{{/*
The version of admissionregistration.k8s.io in which the cluster has MutatingAdmissionPolicies.
*/}}
{{- define "seccomp-operator.mutatingAdmissionPolicyVersion" -}}
{{- $group := "admissionregistration.k8s.io" -}}
{{- if .Capabilities.APIVersions.Has (printf "%s/v1/MutatingAdmissionPolicy" $group) -}}
v1
{{- else if .Capabilities.APIVersions.Has (printf "%s/v1beta1/MutatingAdmissionPolicy" $group) -}}
v1beta1
{{- else -}}
{{- fail (printf "injection.engine policy needs MutatingAdmissionPolicies, which this cluster (Kubernetes %s) does not serve: Kubernetes has them since 1.36. Set injection.engine to webhook; or, where no cluster was asked (helm template), add --api-versions %s/v1/MutatingAdmissionPolicy" .Capabilities.KubeVersion.Version $group) -}}
{{- end -}}
{{- end -}}

{{/*
The namespaces that the webhook never changes pods in, as a JSON list: always the release's own and kube-system, so that the operator
and what it needs can start without it.
*/}}
{{- define "seccomp-operator.excludedNamespaces" -}}
{{- concat (list .Release.Namespace "kube-system") .Values.excludedNamespaces | uniq | sortAlpha | toJson -}}
{{- end -}}

{{/*
What a monitor says of one endpoint. Call it with the monitor's values.
*/}}
{{- define "seccomp-operator.endpoint" -}}
port: health
path: /metrics
{{- with .interval }}
interval: {{ . }}
{{- end }}
{{- with .scrapeTimeout }}
scrapeTimeout: {{ . }}
{{- end }}
{{- with .relabelings }}
relabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .metricRelabelings }}
metricRelabelings:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
The metadata of an object for an operator that finds it by labels: the user's labels come on top of the chart's.
Call it with (dict "root" $ "component" "agent" "name" "..." "own" the values of the object).
*/}}
{{- define "seccomp-operator.found" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- toYaml (merge (include "seccomp-operator.labels" . | fromYaml) .own.labels) | nindent 2 }}
{{- with .own.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
