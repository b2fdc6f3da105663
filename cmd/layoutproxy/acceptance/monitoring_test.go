package acceptance

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

const (
	rulesDir  = projectDir + "/deploy/prometheus"
	dashboard = projectDir + "/deploy/grafana/layoutproxy.json"
)

// promtool accepts the alert rules, and their tests pass. Each alert has a test in which it fires.
func TestAlertRulesFire(t *testing.T) {
	promtool := packaged(t, "promtool")
	for _, args := range [][]string{
		{"check", "rules", "layoutproxy.rules.yaml"},
		{"test", "rules", "layoutproxy.rules.test.yaml"},
	} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = rulesDir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	rules := read(t, filepath.Join(rulesDir, "layoutproxy.rules.yaml"))
	tests := read(t, filepath.Join(rulesDir, "layoutproxy.rules.test.yaml"))
	alerts := regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(rules, -1)
	if len(alerts) == 0 {
		t.Fatal("layoutproxy.rules.yaml contains no alert, want at least one")
	}
	for _, alert := range alerts {
		if !regexp.MustCompile(`alertname: ` + alert[1] + `\n +exp_alerts:`).MatchString(tests) {
			t.Errorf("the alert %s fires in no test, want at least one", alert[1])
		}
	}
}

// The dashboard, the alert rules and the docs use only metrics that layoutproxy exports. If a
// metric does not exist, a panel stays empty, or an alert never fires.
func TestQueriesUseExistingMetrics(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", t.TempDir())
	// Each of these options adds metrics. The store is empty, so the server pushes nothing.
	s := serve(t, bundleDir, "--client-connections", "100", "--scrub", "1MB/s", "--store", t.TempDir(), "--drop-dir", t.TempDir(), "--push-to", "127.0.0.1:1/mirror")
	for _, path := range []string{"install/manifests/v1.70.1", "install/tags/list"} {
		body(t, "http://"+s.registry+"/v2/deckhouse/ee/"+path)
	}
	exists := map[string]bool{"up": true} // Prometheus' own
	for line := range strings.Lines(body(t, "http://"+s.admin+"/metrics")) {
		if name, _, _ := strings.Cut(line, " "); !strings.HasPrefix(name, "#") {
			name, _, _ = strings.Cut(name, "{")
			exists[name] = true
		}
	}
	metric := regexp.MustCompile(`\b(?:layoutproxy|process|go)_\w+`)
	used := 0
	for name, text := range map[string]string{
		"the panels": strings.Join(queries(t), "\n"),
		"the rules":  expressions(read(t, filepath.Join(rulesDir, "layoutproxy.rules.yaml"))),
		"the docs":   documented(t),
	} {
		for _, found := range metric.FindAllString(text, -1) {
			used++
			if !exists[found] && !exists[found+"_bucket"] {
				t.Errorf("%s use the metric %s, which layoutproxy does not export", name, found)
			}
		}
	}
	if used < 30 {
		t.Errorf("the test found %d uses of metrics, want at least 30; it may miss queries", used)
	}
}

// expressions returns the text of the rules without summaries, descriptions and the names of groups.
func expressions(rules string) string {
	return regexp.MustCompile(`(?m)^.*(name|summary|description): .*$`).ReplaceAllString(rules, "")
}

// documented returns the names of metrics, from the first column of the tables in docs/metrics.md.
func documented(t *testing.T) string {
	var names []string
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\|").FindAllStringSubmatch(read(t, projectDir+"/docs/metrics.md"), -1) {
		names = append(names, m[1])
	}
	return strings.Join(names, "\n")
}

// queries returns the queries of the dashboard. It fails the test if promtool cannot parse them.
func queries(t *testing.T) []string {
	t.Helper()
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	must(t, json.Unmarshal([]byte(read(t, dashboard)), &board))
	var all []string
	var rules strings.Builder // contains one rule per query, because promtool can parse only rules
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	for _, p := range board.Panels {
		if len(p.Targets) == 0 {
			t.Errorf("the panel %q has no query", p.Title)
		}
		for _, target := range p.Targets {
			all = append(all, target.Expr)
			expr := marshal(t, strings.ReplaceAll(target.Expr, "$__rate_interval", "5m"))
			rules.WriteString("  - record: a:query" + strings.Repeat("x", len(all)) + "\n    expr: " + string(expr) + "\n")
		}
	}
	file := filepath.Join(t.TempDir(), "queries.yaml")
	must(t, os.WriteFile(file, []byte(rules.String()), 0o600))
	if out, err := exec.CommandContext(t.Context(), packaged(t, "promtool"), "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("promtool check rules: got error %v, want none:\n%s", err, out)
	}
	return all
}

func read(t *testing.T, name string) string {
	t.Helper()
	data := layouttest.ReadFile(t, name)
	return string(data)
}
