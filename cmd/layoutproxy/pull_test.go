package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// The test serves d8's bundle, and pulls it from the server as archives and as a tree. The pulled bundles
// have the same content as a registry that d8 has pushed the bundle to.
func TestPullFromServedBundleGivesSameContent(t *testing.T) {
	t.Parallel()
	want := expected(t, "testdata/d8/expected.tsv")
	// An old version of d8 wrote the bundle. It did not tag the install image with channels.
	for channel, version := range map[string]string{"alpha": "v1.70.1", "beta": "v1.70.1", "early-access": "v1.69.3", "stable": "v1.69.3", "rock-solid": "v1.68.2"} {
		want["deckhouse/ee/install:"+channel] = want["deckhouse/ee/install:"+version]
	}
	source := start(t, "--root-repository", "deckhouse/ee", "testdata/d8")
	for form, flags := range map[string][]string{"archives": {"--gost-digest"}, "tree": {"--tree"}} {
		dir := t.TempDir()
		out, err := program(t, append([]string{"pull", source.addresses["registry"] + "/deckhouse/ee", dir}, flags...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("pulling %s: got the error %v, want none\n%s", form, err, out)
		}
		p := start(t, "--strict", "--root-repository", "deckhouse/ee", dir)
		if diff := cmp.Diff(want, pulled(t, p.addresses["registry"], want)); diff != "" {
			t.Errorf("%s: unexpected content (-want +got): %s", form, diff)
		}
	}
}

// Ctrl-C ends a pull with exit status 130. The next pull resumes it.
func TestPullInterrupted(t *testing.T) {
	t.Parallel()
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("big")
	l.Tag(l.Image(layouttest.Image{Name: "big", LayerSizes: []int64{60 << 20, 1000}}), "v1")
	l.Write()
	source := start(t, "--root-repository", "", tree.Dir())
	inside := make(chan struct{})
	upstream := registrytest.New(t, registrytest.Options{Handler: httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: source.addresses["registry"]})})
	upstream.Inject(func(w http.ResponseWriter, r *http.Request, next http.Handler) bool {
		if registrytest.On("GET blobs")(r) && r.Header.Get("Range") == "" {
			next.ServeHTTP(&stopping{ResponseWriter: w, limit: 10 << 20, inside: inside, gone: r.Context().Done()}, r)
			return true
		}
		return false
	})
	dir := t.TempDir()
	args := []string{"pull", upstream.Host + "/big", dir, "--repository", "."}
	cmd := program(t, args...)
	layouttest.Try(t, cmd.Start())
	<-inside
	layouttest.Try(t, cmd.Process.Signal(os.Interrupt))
	var ended *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &ended) || ended.ExitCode() != exit.Interrupted {
		t.Fatalf("the interrupted pull ended with %v, want exit status 130", err)
	}
	upstream.Forget()
	if out, err := program(t, args...).CombinedOutput(); err != nil {
		t.Fatalf("the second pull ended with %v, want exit status 0\n%s", err, out)
	}
	ranges := 0
	for _, r := range upstream.Requests() {
		if r.Status == http.StatusPartialContent {
			ranges++
		}
	}
	if ranges != 1 {
		t.Errorf("the second pull requested %d ranges, want 1", ranges)
	}
}

// stopping is a response that stops when it would send more than limit bytes. Then it blocks until
// the client disconnects.
type stopping struct {
	http.ResponseWriter
	limit  int64
	inside chan struct{}
	gone   <-chan struct{}
}

func (s *stopping) Write(p []byte) (int, error) {
	if s.limit -= int64(len(p)); s.limit < 0 {
		_ = http.NewResponseController(s.ResponseWriter).Flush()
		close(s.inside)
		<-s.gone
		return 0, http.ErrAbortHandler
	}
	return s.ResponseWriter.Write(p)
}

// If a bundle is published but the pull cannot clean up, the pull prints its report and the error. The exit
// status is 3 if content was left out, and otherwise 1.
func TestPullThatCannotCleanUp(t *testing.T) {
	flags := pullFlags{repositories: pull.Repositories{Paths: []string{"app"}}}
	failed := errors.New("cannot remove .tmp")
	missing := pull.NewProblem(layoutstore.Incomplete, "shop/app", "v1", "missing")
	for want, problems := range map[int][]pull.Problem{exit.Failed: nil, exit.Content: {missing}} {
		var out bytes.Buffer
		report := &pull.Report{Dir: "bundle", Problems: problems}
		err := flags.conclude(t.Context(), &console.Output{}, &out, report, failed)
		if got := exit.Status(err); got != want || !strings.Contains(err.Error(), failed.Error()) {
			t.Errorf("%d problems: got the error %v with the exit status %d, want %v with %d", len(problems), err, got, failed, want)
		}
		if printed := out.String(); !strings.Contains(printed, "bundle: 0 written") || strings.Contains(printed, "shop/app:v1: missing") != (problems != nil) {
			t.Errorf("%d problems: printed\n%s\nwant the report with all problems", len(problems), printed)
		}
	}
}

// A pull from an incomplete source exits with 3 and publishes nothing. With --allow-incomplete, it
// publishes everything but the missing image, which it lists last. The result is a complete bundle:
// verify and import exit with 0.
func TestPullFromIncompleteSource(t *testing.T) {
	t.Parallel()
	source := start(t, "--root-repository", "deckhouse/ee", "testdata/d8")
	upstream := registrytest.New(t, registrytest.Options{Handler: httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: source.addresses["registry"]})})
	const extra = "deckhouse/ee/modules/stronghold/extra/scanner"
	upstream.Inject(registrytest.Answer(func(r *http.Request) bool { return r.URL.Path == "/v2/"+extra+"/manifests/3" }, http.StatusNotFound))
	run := func(want int, args ...string) string {
		t.Helper()
		cmd := program(t, args...)
		var out bytes.Buffer
		cmd.Stdout = &out
		_ = cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Fatalf("layoutproxy %q ends with status %d, want %d\n%s", args, got, want, out.String())
		}
		return out.String()
	}
	dir := t.TempDir()
	args := []string{"pull", upstream.Host + "/deckhouse/ee", dir, "--no-platform", "--no-packages", "--no-security-db", "--no-installer"}
	run(exit.Content, args...)
	if archives, _ := filepath.Glob(filepath.Join(dir, "*.tar")); len(archives) > 0 {
		t.Errorf("the pull published %q, want nothing", archives)
	}
	for _, dry := range []string{"--dry-run", "--dry-run=false"} {
		out := run(exit.Content, append(args, "--allow-incomplete", dry)...)
		if want := "1 thing is missing or damaged in the source, and left out:\n  module stronghold: " + extra + ":3: missing\n"; !strings.HasSuffix(out, want) {
			t.Errorf("with %s, the output is\n%s\nwant it to end with\n%s", dry, out, want)
		}
	}
	var doc struct{ Holes []map[string]string }
	layouttest.Try(t, json.Unmarshal([]byte(run(exit.Content, append(args, "--allow-incomplete", "--output", "json")...)), &doc))
	want := []map[string]string{{"kind": "incomplete", "component": "module stronghold", "repository": extra, "tag": "3", "reason": "missing"}}
	if diff := cmp.Diff(want, doc.Holes); diff != "" {
		t.Error(diff)
	}
	run(0, "verify", dir)
	run(0, "import", dir, "--store", t.TempDir())
	if out := run(0, "list", dir, "--root-repository", "deckhouse/ee"); strings.Contains(out, extra) || !strings.Contains(out, "deckhouse/ee/modules/stronghold/extra/enforcer\tv2\t") {
		t.Errorf("the list is\n%s\nwant the image extra/enforcer:v2, and not extra/scanner", out)
	}
}
