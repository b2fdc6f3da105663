package pull_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/pull/pulltest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// childVariable is an environment variable that makes the test program run child.
const childVariable = "LAYOUTPROXY_TEST_PULL"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		if err := child(strings.Fields(os.Getenv(childVariable))); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	pulltest.Main(m)
}

// child runs a pull. Its arguments are HOST, DIR, the form of the bundle, and the number of the
// point at which it kills itself (0 means never). At the end, it prints how many points it reached.
func child(args []string) error {
	c, err := client.New(client.Options{Registry: args[0], PlainHTTP: true})
	if err != nil {
		return err
	}
	defer c.Close()
	o := pull.Options{Registry: c, Source: client.Reference{Registry: args[0], Path: "shop"}, Dir: args[1], Planner: pull.Repositories{Paths: []string{"app", "."}}}
	switch args[2] {
	case "tree":
		o.Tree = true
	case "chunks":
		o.ChunkSize = 40_000
	}
	at, err := strconv.Atoi(args[3])
	if err != nil {
		return err
	}
	var reached atomic.Int64
	o.SetReached(func(string) {
		if int(reached.Add(1)) == at {
			_ = layouttest.KillSelf()
		}
	})
	if _, err := pull.Run(context.Background(), o, nil); err != nil {
		return err
	}
	fmt.Println(reached.Load())
	return nil
}

// spawn runs child in another process. It returns the number of points that the pull reached, or 0
// if the pull killed itself.
func spawn(t *testing.T, host, dir, form string, at int) (points int) {
	t.Helper()
	self, err := os.Executable()
	layouttest.Try(t, err)
	cmd := exec.CommandContext(t.Context(), self)
	// Without GORACE, the race detector makes each process sleep for a second at its end.
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", fmt.Sprintf("%s=%s %s %s %d", childVariable, host, dir, form, at))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return 0
	}
	if err != nil {
		t.Fatalf("process of the pull: got error %v, want none; stderr: %s", err, errs.String())
	}
	points, err = strconv.Atoi(strings.TrimSpace(out.String()))
	layouttest.Try(t, err)
	return points
}

// crashTree returns a tree with so many blobs that a pull can be killed between two of them.
func crashTree(t *testing.T) *layouttest.Tree {
	tree := varied(t)
	app := tree.Layout("shop/app")
	for i := range 4 {
		app.Tag(app.Image(layouttest.Image{Name: fmt.Sprint("more", i), LayerSizes: []int64{20_000, 300_000}}), fmt.Sprint("more", i))
	}
	app.Write()
	return tree
}

// finished returns the digests of all complete blobs below dir, in hexadecimal.
func finished(t *testing.T, dir string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	layouttest.Try(t, filepath.WalkDir(dir, func(file string, e fs.DirEntry, err error) error {
		name := filepath.Base(file)
		switch parent := filepath.Base(filepath.Dir(file)); {
		case err != nil:
			return err
		case parent == "blobs" || parent == "sha256":
			all[strings.TrimPrefix(name, "sha256-")] = true
		}
		return nil
	}))
	for _, sub := range []string{".", ".tmp/layoutproxy/archives"} {
		archives, err := filepath.Glob(filepath.Join(dir, sub, "*.tar"))
		layouttest.Try(t, err)
		for _, a := range archives {
			for _, p := range layouttest.Places(t, a) {
				all[filepath.Base(p.Name)] = true
			}
		}
	}
	return all
}

// A pull is killed at any point. The next pull resumes it: it fetches no complete blob again, and
// writes the same bundle as a pull that was not killed.
func TestKilledPulls(t *testing.T) {
	tree := crashTree(t)
	for i, form := range []string{"archives", "chunks", "tree"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			r, _ := pulltest.Serve(t, tree.Dir())
			dir := t.TempDir()
			total := spawn(t, r.Host, dir, form, 0)
			if total < 20 {
				t.Fatalf("the pull reached %d points, want at least 20", total)
			}
			want := contents(t, dir)
			all, err := readBundle(t, dir)
			layouttest.Try(t, err)
			// The tested points are spread over the whole pull. Together, the three forms test each
			// of the last points. The full tier tests each point in each form.
			sample := []int{1, total / 4, total / 2, total - 6, total - 5, total - 4, total - 3, total - 2, total - 1, total}
			for at := 1; at <= total; at++ {
				if n := slices.Index(sample, at); os.Getenv("LAYOUTPROXY_TEST_ALL") == "" && (n < 0 || n%3 != i) {
					continue
				}
				dir := t.TempDir()
				if spawn(t, r.Host, dir, form, at) != 0 {
					t.Fatalf("the pull did not stop at point %d of %d, want it killed there", at, total)
				}
				if got, err := readBundle(t, dir); err != nil || len(got) > 0 && !maps.Equal(got, all) {
					t.Errorf("killed at point %d of %d: the directory has a part of a bundle, want none or all of it (error %v): %s", at, total, err, cmp.Diff(all, got))
				}
				there := finished(t, dir)
				r.Forget()
				spawn(t, r.Host, dir, form, 0)
				for _, q := range r.Requests() {
					if hex := q.Path[strings.LastIndex(q.Path, ":")+1:]; q.Kind() == "GET blobs" && there[hex] {
						t.Errorf("killed at point %d of %d: the next pull fetched the complete blob %s again, want no request for it", at, total, hex)
					}
				}
				if diff := cmp.Diff(want, contents(t, dir)); diff != "" {
					t.Errorf("killed at point %d of %d: the next pull wrote a different bundle (-want +got): %s", at, total, diff)
				}
			}
			// Now the directory has an older bundle, and pulls are killed while they replace it.
			dir = t.TempDir()
			layouttest.Try(t, os.WriteFile(filepath.Join(dir, "app.tar"), nil, 0o644))
			layouttest.Try(t, os.WriteFile(filepath.Join(dir, "app.tar.0000.chunk"), nil, 0o644))
			for _, at := range []int{total - 2, total - 1} {
				spawn(t, r.Host, dir, form, at)
			}
			if form != "tree" { // a tree does not replace the archives of an older bundle
				spawn(t, r.Host, dir, form, 0)
				if diff := cmp.Diff(want, contents(t, dir)); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// contents returns the bytes of all files below a directory, by relative path.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	layouttest.Try(t, filepath.WalkDir(dir, func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(file)
		name, _ := filepath.Rel(dir, file)
		all[name] = string(data)
		return err
	}))
	return all
}
