package acceptance

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// Two servers read a directory while another process imports into it. Each server shows all of the
// import or nothing, and continues to serve old content. NFS and CephFS report no changes by other
// machines. To simulate this, the second server gets no events. It finds the import by --rescan.
func TestTwoServersOfOneDirectory(t *testing.T) {
	store, bundle := filepath.Join(t.TempDir(), "store"), t.TempDir()
	run(t, program, "import", abs(t, bundleDir), "--store", store)
	repositories := moduleBundle(t, bundle, 12)

	servers := []server{
		serve(t, "--store="+store),
		serveUnder(t, []string{packaged(t, "strace"), "-D", "-f", "-qq", "-o", os.DevNull, "--seccomp-bpf",
			"-e", "trace=inotify_init1", "-e", "inject=inotify_init1:error=EMFILE"}, "--store="+store, "--rescan", "100ms"),
	}
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	if body := statusOf(ctx, t, servers[1]); !strings.Contains(body, "the sources cannot be watched, so layoutproxy notices changes only at the periodic rescan (--rescan)") {
		t.Errorf("the second server gets events, want none, so that the test checks --rescan: %s", body)
	}
	images, once := sample(t), &patient{client: http.DefaultClient}
	importing := exec.CommandContext(t.Context(), program, "import", bundle, "--store", store)
	importing.Env = bareEnv(t.TempDir())
	must(t, importing.Start())
	for i, s := range servers {
		for {
			shown, err := shows(ctx, s, repositories)
			if err != nil {
				t.Fatalf("server %d: %v", i, err)
			}
			if shown == len(repositories) {
				break
			}
			if shown != 0 {
				t.Fatalf("server %d shows a part of the import: %d of %d repositories, want all or none", i, shown, len(repositories))
			}
			must(t, once.image(ctx, "http://"+s.registry, installer, pick(t, images, installer).digest))
		}
	}
	must(t, importing.Wait())
	for _, s := range servers {
		must(t, once.image(ctx, "http://"+s.registry, plugin, pick(t, images, plugin).digest))
		for _, name := range repositories {
			must(t, once.image(ctx, "http://"+s.registry, name+":v1", ""))
		}
	}
}

// statusOf returns the response of a server to /status.
func statusOf(ctx context.Context, t *testing.T, s server) string {
	t.Helper()
	_, body, err := (&patient{client: http.DefaultClient}).get(ctx, "http://"+s.admin+"/status")
	must(t, err)
	return string(body)
}

// moduleBundle writes n archives, each with one module, and returns the names of the repositories.
func moduleBundle(t *testing.T, dir string, n int) (repositories []string) {
	t.Helper()
	for i := range n {
		name := fmt.Sprintf("shared%02d", i)
		tree := layouttest.New(t, t.TempDir())
		l := tree.Layout("modules/" + name)
		l.Tag(l.Image(layouttest.Image{Name: name, LayerSizes: []int64{64 << 10, 100}}), "v1")
		l.Write()
		tree.Archive(filepath.Join(dir, "module-"+name+".tar"), layouttest.Archive{})
		repositories = append(repositories, sampleRoot+"/modules/"+name)
	}
	return repositories
}

// shows returns how many of the repositories are in the catalog of a server.
func shows(ctx context.Context, s server, repositories []string) (n int, err error) {
	_, body, err := (&patient{client: http.DefaultClient}).get(ctx, "http://"+s.registry+"/v2/_catalog")
	if err != nil {
		return 0, err
	}
	var catalog struct{ Repositories []string }
	if err := json.Unmarshal(body, &catalog); err != nil {
		return 0, err
	}
	for _, name := range repositories {
		if slices.Contains(catalog.Repositories, name) {
			n++
		}
	}
	return n, nil
}
