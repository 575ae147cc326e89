{{/* What the operator does to the objects of a namespace that it watches; the same for Role and ClusterRole. */}}
{{- define "pondage.operator.rules" -}}
# The resources that people declare: watched, and never made or deleted.
- apiGroups: [pondage.io]
  resources: [brokerclusters, topics, queues, consumergroups]
  verbs: [list, watch]
# Patched where deletion does something, for the finalizer.
- apiGroups: [pondage.io]
  resources: [topics, queues]
  verbs: [patch]
- apiGroups: [pondage.io]
  resources: [brokerclusters/status, topics/status, queues/status, consumergroups/status]
  verbs: [patch]
# What brokers are made of. What is applied and not there is created; it goes with the BrokerCluster by itself.
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [list, watch, create, patch]
- apiGroups: [""]
  resources: [services, configmaps, secrets, serviceaccounts]
  verbs: [list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch]
# These can be switched off, and are deleted then.
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors]
  verbs: [create, patch, delete]
# Brokers' pods belong to their StatefulSet: deleted to restart them, told their zone by an annotation.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch, delete]
# Workloads that consumer groups name are scaled, and nothing else of them is looked at. Of another kind than these a role of
# your own lets the operator get and patch its scale.
- apiGroups: [apps]
  resources: [deployments/scale, statefulsets/scale]
  verbs: [get, patch]
# Two autoscalers of one workload would pull it to and fro: another one is left alone.
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list]
# Whose data a claim holds is read before a cluster is made.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
