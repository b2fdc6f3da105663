package deployment

import (
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func TestNetworkPolicyAllowsOnlyPulls(t *testing.T) {
	p := one[*networking.NetworkPolicy](t, objects(t, ""))
	_, template := workload(t, "DaemonSet", "")
	if !matches(t, &p.Spec.PodSelector, template.Labels) {
		t.Errorf("the network policy has the selector %v, want one that matches the pods", p.Spec.PodSelector)
	}
	if len(p.Spec.PolicyTypes) != 2 || len(p.Spec.Egress) != 0 {
		t.Errorf("got network policy %+v, want two policy types and no egress rules", p.Spec)
	}
	if len(p.Spec.Ingress) != 1 || p.Spec.Ingress[0].Ports[0].Port.StrVal != "registry" || len(p.Spec.Ingress[0].From) != 0 {
		t.Errorf("got ingress rules %+v, want the registry's port from everywhere", p.Spec.Ingress)
	}
	none[*networking.NetworkPolicy](t, objects(t, "networkPolicy: {enabled: false}"))
}

func TestNetworkPolicyLimitsClients(t *testing.T) {
	p := one[*networking.NetworkPolicy](t, objects(t, `
networkPolicy:
  registryFrom: [{ipBlock: {cidr: 10.0.0.0/8}}]
  adminFrom: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]
`))
	in := p.Spec.Ingress
	if len(in) != 2 || in[0].From[0].IPBlock == nil || in[1].From[0].NamespaceSelector == nil || in[1].Ports[0].Port.StrVal != "admin" {
		t.Errorf("got ingress rules %+v, want the registry from 10.0.0.0/8, and the admin port from the namespace monitoring", in)
	}
}

func TestServiceMonitorIsOffByDefault(t *testing.T) {
	all := objects(t, "")
	none[*monitoring.ServiceMonitor](t, all)
	s := one[*core.Service](t, all)
	if s.Spec.Ports[0].Port != 5000 || len(s.Spec.Ports) != 1 {
		t.Errorf("got ports %+v, want only port 5000 of the registry", s.Spec.Ports)
	}
}

func TestServiceMonitorFindsItsService(t *testing.T) {
	all := objects(t, "serviceMonitor: {enabled: true, labels: {release: prometheus}}")
	m := one[*monitoring.ServiceMonitor](t, all)
	var found []*core.Service
	for _, s := range services(all) {
		if matches(t, &metav1.LabelSelector{MatchLabels: m.Spec.Selector.MatchLabels}, s.Labels) {
			found = append(found, s)
		}
	}
	if len(found) != 1 || found[0].Spec.Ports[0].Name != m.Spec.Endpoints[0].Port {
		t.Errorf("the service monitor selects %d services, want 1 with the port %q", len(found), m.Spec.Endpoints[0].Port)
	}
	if m.Labels["release"] != "prometheus" || m.Spec.Endpoints[0].Path != "/metrics" {
		t.Errorf("got service monitor %+v, want the label release=prometheus and the path /metrics", m)
	}
	_, template := workload(t, "DaemonSet", "")
	for _, s := range services(all) {
		if !matches(t, &metav1.LabelSelector{MatchLabels: s.Spec.Selector}, template.Labels) {
			t.Errorf("the selector of the service %s does not match the pods, want a match", s.Name)
		}
	}
}

// The alert LayoutproxyDown applies only to jobs whose name contains layoutproxy. The Prometheus
// operator names the job after the service, and then applies the relabelings of the endpoint
// (prometheus-operator, pkg/prometheus/promcfg.go, generateServiceMonitorConfig).
func TestServiceMonitorJobMatchesTheAlert(t *testing.T) {
	for values, want := range map[string]string{
		"":                           "mirror-layoutproxy-metrics",
		"fullnameOverride: images\n": "layoutproxy-images-metrics",
		"nameOverride: images\n":     "layoutproxy-mirror-images-metrics",
	} {
		all := objects(t, values+"serviceMonitor: {enabled: true}")
		job := ""
		for _, s := range services(all) {
			if s.Labels["layoutproxy/metrics"] == "true" {
				job = s.Name
			}
		}
		for _, r := range one[*monitoring.ServiceMonitor](t, all).Spec.Endpoints[0].RelabelConfigs {
			if r.TargetLabel == "job" && r.Replacement != nil {
				job = *r.Replacement
			}
		}
		if job != want {
			t.Errorf("values %q: got the job %q, want %q", values, job, want)
		}
	}
}

func services(all []runtime.Object) (found []*core.Service) {
	for _, object := range all {
		if s, ok := object.(*core.Service); ok {
			found = append(found, s)
		}
	}
	return found
}
