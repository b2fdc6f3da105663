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

// childVariable is the environment variable that makes the test program a pull which kills itself.
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

// child pulls. Its arguments are HOST, DIR, the form, and the number of the point at which it kills
// itself, or 0. It prints the number of points that it reached.
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
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
	})
	if _, err := pull.Run(context.Background(), o, nil); err != nil {
		return err
	}
	fmt.Println(reached.Load())
	return nil
}

// spawn runs a child, and returns the number of points; 0 if the child was killed.
func spawn(t *testing.T, host, dir, form string, at int) (points int) {
	t.Helper()
	self, err := os.Executable()
	layouttest.Try(t, err)
	cmd := exec.CommandContext(t.Context(), self)
	// Without GORACE, the race detector would make each child sleep a second at its end.
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", fmt.Sprintf("%s=%s %s %s %d", childVariable, host, dir, form, at))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return 0
	}
	if err != nil {
		t.Fatalf("child: %v: %s", err, errs.String())
	}
	points, err = strconv.Atoi(strings.TrimSpace(out.String()))
	layouttest.Try(t, err)
	return points
}

// crashTree returns a tree with enough blobs that a pull can be killed between them.
func crashTree(t *testing.T) *layouttest.Tree {
	tree := varied(t)
	app := tree.Layout("shop/app")
	for i := range 4 {
		app.Tag(app.Image(layouttest.Image{Name: fmt.Sprint("more", i), LayerSizes: []int64{20_000, 300_000}}), fmt.Sprint("more", i))
	}
	app.Write()
	return tree
}

// finished returns the digests, in hex, of all complete blobs below dir.
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

// After a pull was killed at any point, the next one resumes it: it fetches no finished blob again,
// and writes the same bundle as an undisturbed pull.
func TestKilled(t *testing.T) {
	tree := crashTree(t)
	for i, form := range []string{"archives", "chunks", "tree"} {
		t.Run(form, func(t *testing.T) {
			t.Parallel() // it mostly waits for the disk
			r, _ := pulltest.Serve(t, tree.Dir())
			dir := t.TempDir()
			total := spawn(t, r.Host, dir, form, 0)
			if total < 20 {
				t.Fatalf("a pull reaches %d points", total)
			}
			want := contents(t, dir)
			all, err := readBundle(t, dir)
			layouttest.Try(t, err)
			// The sample is spread over all points, and the three forms together try each of the
			// last points. The full tier tries each point in each form.
			sample := []int{1, total / 4, total / 2, total - 6, total - 5, total - 4, total - 3, total - 2, total - 1, total}
			for at := 1; at <= total; at++ {
				if n := slices.Index(sample, at); os.Getenv("LAYOUTPROXY_TEST_ALL") == "" && (n < 0 || n%3 != i) {
					continue
				}
				dir := t.TempDir()
				if spawn(t, r.Host, dir, form, at) != 0 {
					t.Fatalf("not killed at %d of %d", at, total)
				}
				if got, err := readBundle(t, dir); err != nil || len(got) > 0 && !maps.Equal(got, all) {
					t.Errorf("killed at %d of %d: a reader sees half a bundle (%v): %s", at, total, err, cmp.Diff(all, got))
				}
				there := finished(t, dir)
				r.Forget()
				spawn(t, r.Host, dir, form, 0)
				for _, q := range r.Requests() {
					if hex := q.Path[strings.LastIndex(q.Path, ":")+1:]; q.Kind() == "GET blobs" && there[hex] {
						t.Errorf("killed at %d of %d: %s was complete and is fetched again", at, total, hex)
					}
				}
				if diff := cmp.Diff(want, contents(t, dir)); diff != "" {
					t.Errorf("killed at %d of %d: %s", at, total, diff)
				}
			}
			// The same with an older bundle, at the points where the pull replaces it.
			dir = t.TempDir()
			layouttest.Try(t, os.WriteFile(filepath.Join(dir, "app.tar"), nil, 0o644))
			layouttest.Try(t, os.WriteFile(filepath.Join(dir, "app.tar.0000.chunk"), nil, 0o644))
			for _, at := range []int{total - 2, total - 1} {
				spawn(t, r.Host, dir, form, at)
			}
			if form != "tree" { // a tree keeps the archives of an older bundle
				spawn(t, r.Host, dir, form, 0)
				if diff := cmp.Diff(want, contents(t, dir)); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// contents returns the files below a directory.
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
