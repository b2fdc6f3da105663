package deployment

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart"
	"helm.sh/helm/v3/pkg/chartutil"
	apps "k8s.io/api/apps/v1"
)

func TestInvalidChartValuesAreRefused(t *testing.T) {
	for values, want := range map[string]string{
		"mode: StatefulSet":                        "mode",
		"modus: DaemonSet":                         "modus",
		"hostPort: {port: 70000}":                  "port",
		"bundle: {hostPath: srv/bundle}":           "hostPath",
		"serviceMonitor: {interval: often}":        "interval",
		"mode: Deployment":                         "a Deployment needs a volume",
		"bundle: {hostPath: ''}":                   "say where the bundle is",
		"bundle: {volume: {a: {}, b: {}}}":         "volume",
		"image: {repository: ''}":                  "repository",
		"replicas: two\nmode: Deployment":          "replicas",
		"networkPolicy: {registryFrom: [a, b, c]}": "registryFrom",

		"s3: {url: 'https://rgw.example/mirror'}":               "url",
		"s3: {endpoint: 'https://rgw.example'}":                 "s3.url: name the bucket",
		"s3: {store: true}":                                     "s3.url: name the bucket",
		"s3: {url: 's3://mirror', endpoint: rgw.example}":       "endpoint",
		"s3: {url: 's3://mirror', publicEndpoint: 'https://a'}": "only with s3.redirect",
		"s3: {url: 's3://mirror'}\n" + deploymentValues:         "set one of them",
		"topologySpread: {whenUnsatisfiable: Never}":            "whenUnsatisfiable",
		"podDisruptionBudget: {maxUnavailable: 0}":              "maxUnavailable",
		"podDisruptionBudget: {maxUnavailable: most}":           "maxUnavailable",
	} {
		if _, err := render(t, values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("values %s: got error %v, want one that contains %q", values, err, want)
		}
	}
}

// A chart may have this chart as a dependency with a condition. Helm passes the condition to the
// chart as a value, and validates it against the schema of the chart (Helm, pkg/chartutil,
// processDependencyConditions and ValidateAgainstSchema).
func TestChartCanBeAnOptionalDependency(t *testing.T) {
	parent := &chart.Chart{Metadata: &chart.Metadata{
		APIVersion: chart.APIVersionV2, Name: "site", Version: "1.0.0",
		Dependencies: []*chart.Dependency{{Name: "layoutproxy", Version: ">=0.0.0-0", Condition: "layoutproxy.enabled"}},
	}}
	parent.AddDependency(load(t))
	for _, enabled := range []bool{true, false} {
		values := map[string]any{"layoutproxy": map[string]any{"enabled": enabled}}
		must(t, chartutil.ProcessDependencies(parent, values))
		if _, err := chartutil.ToRenderValues(parent, values, chartutil.ReleaseOptions{Name: "site", Namespace: "site"}, chartutil.DefaultCapabilities); err != nil {
			t.Errorf("layoutproxy.enabled: %v: %v", enabled, err)
		}
	}
}

// After an installation, the chart prints notes with the address that the values configure.
func TestNotesNameTheAddress(t *testing.T) {
	for values, want := range map[string]string{
		"":               "--endpoint http://127.0.0.1:5000 ",
		deploymentValues: "mirror-layoutproxy.registry.svc:5000",
		bucketValues:     "s3://mirror/releases is served by mirror-layoutproxy.registry.svc:5000",
		"tls: {secretName: a}\nhostPort: {ip: '', port: 5443}":           "--endpoint https://127.0.0.1:5443 ",
		"hostPort: {ip: '::1'}":                                          "--endpoint http://[::1]:5000 ",
		"hostPort: {enabled: false}":                                     "The bundle is served by mirror-layoutproxy.registry.svc:5000",
		"bundle: {volume: {persistentVolumeClaim: {claimName: bundle}}}": "Each node serves its bundle on 127.0.0.1, port 5000.",
	} {
		files, err := render(t, values)
		must(t, err)
		if notes := files["layoutproxy/templates/NOTES.txt"]; !strings.Contains(notes, want) {
			t.Errorf("values %q: the notes do not contain %q:\n%s", values, want, notes)
		}
	}
}

// docs/page.md names the DaemonSet that the command in docs/install.md makes.
func TestDocumentedDaemonSetExists(t *testing.T) {
	find := func(page, pattern string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(projectDir, "docs", page))
		must(t, err)
		found := regexp.MustCompile(pattern).FindSubmatch(text)
		if found == nil {
			t.Fatalf("docs/%s contains nothing that matches %s", page, pattern)
		}
		return string(found[1])
	}
	if got := find("install.md", `helm install (\S+) `); got != "mirror" {
		t.Fatalf("docs/install.md names the release %s, want mirror, as in render", got)
	}
	want := one[*apps.DaemonSet](t, objects(t, "")).Name
	if got := find("page.md", `port-forward daemonset/(\S+) 5580`); got != want {
		t.Errorf("docs/page.md names the DaemonSet %s, want %s", got, want)
	}
}
