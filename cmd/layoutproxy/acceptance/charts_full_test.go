//go:build full

package acceptance

import (
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// writable starts a server with empty repositories. It returns the server, and the address of a
// reverse proxy through which clients can write to them.
func writable(t *testing.T, repositories ...string) (s server, front string) {
	t.Helper()
	dir := t.TempDir()
	tree := layouttest.New(t, dir)
	for _, name := range repositories {
		tree.Layout(name).Write()
	}
	s = serve(t, dir, "--root-repository", "")
	listening := httptest.NewServer(newFront(t, dir, s))
	t.Cleanup(listening.Close)
	return s, listening.Listener.Addr().String()
}

func TestHelmPullsCharts(t *testing.T) {
	program := filepath.Join(installed(t, helm, "cmd/helm"), "helm")
	s, front := writable(t, "charts/sample")
	dir := t.TempDir()
	run(t, program, "create", filepath.Join(dir, "sample"))
	run(t, program, "package", filepath.Join(dir, "sample"), "--destination", dir)
	chart := filepath.Join(dir, "sample-0.1.0.tgz")
	run(t, program, "push", "--plain-http", chart, "oci://"+front+"/charts")

	pulled := t.TempDir()
	run(t, program, "pull", "--plain-http", "oci://"+s.registry+"/charts/sample", "--version", "0.1.0", "--destination", pulled)
	want := layouttest.ReadFile(t, chart)
	got, err := os.ReadFile(filepath.Join(pulled, "sample-0.1.0.tgz"))
	if err != nil || string(got) != string(want) {
		t.Errorf("helm pull wrote %d bytes, error %v; want the %d bytes of the chart that was pushed", len(got), err, len(want))
	}
	if out := run(t, program, "show", "chart", "--plain-http", "oci://"+s.registry+"/charts/sample"); !strings.Contains(out, "name: sample") {
		t.Errorf("helm show chart printed %q, want \"name: sample\"", out)
	}
}
