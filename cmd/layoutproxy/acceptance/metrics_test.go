package acceptance

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

// /metrics counts requests, and promtool accepts its format.
func TestMetricsCountRequests(t *testing.T) {
	s := serve(t, bundleDir)
	for _, path := range []string{"install/manifests/v1.70.1", "unknown/manifests/v1", "install/tags/list"} {
		statusAt(t, "http://"+s.registry+"/v2/deckhouse/ee/"+path)
	}
	metrics := body(t, "http://"+s.admin+"/metrics")

	check := exec.CommandContext(t.Context(), packaged(t, "promtool"), "check", "metrics")
	check.Stdin = strings.NewReader(metrics)
	var said bytes.Buffer
	check.Stdout, check.Stderr = &said, &said
	if err := check.Run(); err != nil || said.Len() > 0 {
		t.Errorf("promtool check metrics: got error %v, want neither an error nor output:\n%s", err, &said)
	}
	for _, line := range []string{
		`layoutproxy_http_requests_total{code="200",method="GET",route="manifests"} 1`,
		`layoutproxy_http_requests_total{code="404",method="GET",route="manifests"} 1`,
		`layoutproxy_http_requests_total{code="200",method="GET",route="tags"} 1`,
		`layoutproxy_http_requests_in_flight 0`,
		`layoutproxy_repositories 15`,
		`layoutproxy_generation 1`,
		`layoutproxy_problems{kind="damaged"} 0`,
		`layoutproxy_refused_requests_total 0`,
	} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("/metrics does not contain the line %s:\n%s", line, metrics)
		}
	}
}
