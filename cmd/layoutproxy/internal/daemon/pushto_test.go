package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/buckettest"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// With --push-to, a server pushes each generation of its store once, also if another process has
// published it. This is the same for a store in a bucket, which the server itself never changes.
func TestEachGenerationIsPushedOnce(t *testing.T) {
	for _, kind := range []string{"directory", "bucket"} {
		t.Run(kind, func(t *testing.T) {
			options := importer.Options{Store: filepath.Join(t.TempDir(), "store")}
			state := t.TempDir()
			var flags []string
			if kind == "bucket" {
				s3 := buckettest.Start(t)
				options = importer.Options{Store: "s3://" + buckettest.Bucket + "/store", Buckets: s3.Buckets(t)}
				flags = []string{"--s3-endpoint", s3.URL, "--s3-path-style"}
				state = filepath.Join(state, "file") // a server pushes even without a directory for its state
				layouttest.WriteFile(t, state, "")
				t.Setenv("AWS_ACCESS_KEY_ID", buckettest.AccessKey)
				t.Setenv("AWS_SECRET_ACCESS_KEY", buckettest.SecretKey)
			}
			t.Setenv("XDG_STATE_HOME", state)
			i, err := importer.New(options)
			layouttest.Try(t, err)
			imports := func(tag string) {
				t.Helper()
				tree := layouttest.New(t, t.TempDir())
				layouttest.Publish(t, tree.Dir(), "app", tag)
				_, err := i.Import(t.Context(), tree.Dir())
				layouttest.Try(t, err)
			}
			imports("v1")

			to := registrytest.New(t, registrytest.Options{})
			other := layouttest.New(t, t.TempDir())
			flags = append(flags, "--rescan", "1h", "--store", options.Store, "--push-to", to.Host+"/mirror", other.Dir())
			registry, admin := inProcess(t, flags...)
			client := &http.Client{Timeout: time.Minute}
			arrives := func(base, tag string) {
				t.Helper()
				layouttest.Eventually(t, tag+" at "+base, func() bool {
					list, _, err := fetch(client, base+"/tags/list")
					return err == nil && strings.Contains(string(list), `"`+tag+`"`)
				})
			}
			rescan := func() {
				t.Helper()
				resp, err := client.Post("http://"+admin+"/rescan", "", nil)
				layouttest.Try(t, err)
				resp.Body.Close()
			}
			pushed := func(n int) {
				t.Helper()
				arrives("http://"+to.Host+"/v2/mirror/app", fmt.Sprintf("v%d", n))
			}
			pushed(1)
			imports("v2")
			rescan()
			pushed(2)

			// A change of another source starts no push.
			to.Forget()
			layouttest.Publish(t, other.Dir(), "other", "latest")
			rescan()
			arrives("http://"+registry+"/v2/other", "latest")
			imports("v3")
			rescan()
			pushed(3)
			var heads []string
			for _, r := range to.Requests() {
				if r.Method == http.MethodHead && r.Path == "/v2/mirror/app/manifests/v1" {
					heads = append(heads, r.Path)
				}
			}
			if want := []string{"/v2/mirror/app/manifests/v1"}; !slices.Equal(heads, want) {
				t.Errorf("after a change of another source and one import, got the requests HEAD %q, want %q, from one push", heads, want)
			}
		})
	}
}

// A change starts a push unless the store's content is already pushed, or a retry of a failed push is
// not due yet. A push that finds no images does not count as pushed in /status. The metric of the last
// push is 0 from the end of a push that failed to the end of one that did not, also during retries.
func TestChangesThatStartPushes(t *testing.T) {
	to, err := client.New(client.Options{Registry: "127.0.0.1:1"})
	layouttest.Try(t, err)
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var revision string
		var unreadable, refused error
		pushes, empty := 0, false
		var before []float64 // values of the metric when pushes start
		var f *follower
		set := func(do func()) {
			mu.Lock()
			defer mu.Unlock()
			do()
		}
		f = &follower{log: zap.NewNop(), client: to, changed: make(trigger, 1),
			revision: func(context.Context) (string, error) {
				mu.Lock()
				defer mu.Unlock()
				if unreadable != nil {
					return "", unreadable
				}
				return revision, nil
			},
			once: func(context.Context) (bool, error) {
				mu.Lock()
				defer mu.Unlock()
				pushes++
				before = append(before, f.lastSuccessful())
				return !empty, errors.Join(unreadable, refused)
			}}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- f.run(ctx) }()
		expect := func(what string, want int, state string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			got := ""
			for _, s := range f.pushes() {
				got = s.State
			}
			if pushes != want || got != state {
				t.Errorf("%s: got %d pushes and the state %q, want %d and %q", what, pushes, got, want, state)
			}
			if successful := f.lastSuccessful() == 1; successful != (state != "failed") {
				t.Errorf("%s: the last push counts as successful: %t, want %t", what, successful, state != "failed")
			}
		}
		change := func() { f.push() }

		set(func() { revision, empty = "0", true })
		change()
		expect("empty store in a directory", 1, "")
		set(func() { unreadable = errors.New("input/output error") })
		change()
		expect("unreadable empty store", 2, "failed")
		set(func() { unreadable = nil })
		change()
		expect("the empty store is readable again", 2, "")
		set(func() { revision, empty, pushes = "1", false, 0 })
		change()
		expect("first generation", 1, "pushed")
		change()
		expect("change of another source", 1, "pushed")
		set(func() { revision, refused = "2", errors.New("refused") })
		change()
		expect("refused generation", 2, "failed")
		change()
		expect("change of another source before the retry", 2, "failed")
		time.Sleep(firstPushPause)
		expect("retry", 3, "failed")
		set(func() { revision, refused = "3", nil })
		change()
		expect("new generation before the next retry", 4, "pushed")
		time.Sleep(lastPushPause)
		expect("after a push that succeeded", 4, "pushed")
		set(func() { unreadable = errors.New("input/output error") })
		change()
		expect("unreadable store", 5, "failed")
		change()
		expect("change of another source while the store is unreadable", 5, "failed")
		set(func() { unreadable = nil })
		time.Sleep(firstPushPause)
		expect("the pushed generation is readable again", 5, "pushed")
		set(func() { revision = "" })
		change()
		expect("empty store in a bucket", 5, "")
		set(func() { revision = "3" })
		change()
		expect("the pushed generation is back", 5, "pushed")
		if want := []float64{1, 1, 1, 1, 0, 0, 1}; !slices.Equal(before, want) {
			t.Errorf("when pushes start, the metric has the values %v, want %v", before, want)
		}
		cancel()
		layouttest.Try(t, <-ended)
	})
}

// A store that is removed and filled again has the same number of its generation, but another revision.
func TestRevisionsOfStores(t *testing.T) {
	s3 := buckettest.Start(t)
	t.Setenv("AWS_ACCESS_KEY_ID", buckettest.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", buckettest.SecretKey)
	dir := filepath.Join(t.TempDir(), "store")
	inBucket := "s3://" + buckettest.Bucket + "/store"
	for _, c := range []struct {
		options importer.Options
		remove  func()
		empty   bool // whether a place without a store is an empty store
	}{
		{importer.Options{Store: dir}, func() { layouttest.Try(t, os.RemoveAll(dir)) }, false},
		{importer.Options{Store: inBucket, Buckets: s3.Buckets(t)}, func() {
			for _, key := range s3.Keys(t, "store/") {
				s3.Remove(t, key)
			}
		}, true},
	} {
		f := &follower{store: c.options.Store}
		f.tree.S3.Endpoint, f.tree.S3.PathStyle = s3.URL, true
		seen := map[string]string{}
		for _, what := range []string{"first", "filled again"} {
			if r, err := f.readRevision(t.Context()); r != "" || (err == nil) != c.empty {
				t.Errorf("%s without a store: got the revision %q and error %v; want none, and no error: %t", c.options.Store, r, err, c.empty)
			}
			tree := layouttest.New(t, t.TempDir())
			layouttest.Publish(t, tree.Dir(), "app", "v1")
			i, err := importer.New(c.options)
			layouttest.Try(t, err)
			_, err = i.Import(t.Context(), tree.Dir())
			layouttest.Try(t, err)
			if !c.empty { // the clock of a file system has ticks, and both imports may be in the same tick
				written := time.Unix(int64(1000+len(seen)), 0)
				layouttest.Try(t, os.Chtimes(filepath.Join(dir, journal.StateFile), written, written))
			}
			split, err := f.readRevision(t.Context())
			layouttest.Try(t, err)
			f.unsplit = true
			unsplit, err := f.readRevision(t.Context())
			layouttest.Try(t, err)
			f.unsplit = false
			for _, r := range []string{split, unsplit} {
				if old, ok := seen[r]; ok {
					t.Errorf("%s, %s: the revision %q is that of %s, want another", c.options.Store, what, r, old)
				}
				seen[r] = what
			}
			if same, err := f.readRevision(t.Context()); same != split || err != nil {
				t.Errorf("%s, unchanged: got the revision %q and error %v, want %q", c.options.Store, same, err, split)
			}
			c.remove()
		}
	}
}

// If a scan changes the tree without a caller that follows the change, the next scan makes up for it.
// Such callers are requests of clients, and those that stop waiting.
func TestForgottenChangesAreFollowed(t *testing.T) {
	dir := t.TempDir()
	layouttest.Publish(t, dir, "app", "v1")
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{dir}})
	layouttest.Try(t, err)
	l := newLiveTree(zap.NewNop(), tree, []string{dir}, time.Hour)
	changes := 0
	l.onChange = func() { changes++ }
	stopped, stop := context.WithCancel(t.Context())
	stop()
	for n, scan := range []func() error{
		func() error { _, err := l.Refresh(t.Context()); return err },
		func() error {
			if _, err := l.refresh(stopped); err == nil {
				return nil // the scan ended before refresh checked the context
			}
			_, err := tree.Refresh(t.Context())
			return err
		},
	} {
		layouttest.Publish(t, dir, fmt.Sprint("new", n), "v1")
		layouttest.Try(t, scan())
		for range 2 { // the second rescan finds no change
			l.rescan(t.Context())
		}
		if changes != n+1 {
			t.Errorf("after change %d: onChange was called %d times altogether, want %d", n+1, changes, n+1)
		}
	}
}

// A scan for a request of a client, and one whose caller stops waiting, make the watcher scan again,
// which follows the change. Here, nothing else would: no directory is watched, and the next tick is
// in an hour.
func TestScansForRequestsAreRepeated(t *testing.T) {
	for name, scan := range map[string]func(context.Context, *liveTree) error{
		"request": func(ctx context.Context, l *liveTree) error { _, err := l.Refresh(ctx); return err },
		"caller that has gone": func(ctx context.Context, l *liveTree) error {
			gone, leave := context.WithCancel(ctx)
			leave()
			_, err := l.refresh(gone)
			if errors.Is(err, context.Canceled) {
				err = nil
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			layouttest.Publish(t, dir, "app", "v1")
			tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{dir}})
			layouttest.Try(t, err)
			l := newLiveTree(zap.NewNop(), tree, []string{dir}, time.Hour)
			followed := make(trigger, 1)
			l.onChange = followed.set
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- l.watcher.Run(ctx) }()
			layouttest.Publish(t, dir, "new", "v1")
			layouttest.Try(t, scan(t.Context(), l))
			layouttest.Eventually(t, "the change is followed", func() bool {
				select {
				case <-followed:
					return true
				default:
					return false
				}
			})
			cancel()
			layouttest.Try(t, <-ended)
		})
	}
}

// The disks in /status include that of the state directory if the server pushes.
func TestDisksOfServer(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/state")
	for _, c := range []struct{ flags, want []string }{
		{nil, nil},
		{[]string{"--cache-dir", "/cache"}, []string{"/cache"}},
		{[]string{"--store", "/store", "--drop-dir", "/drop", "--cache-dir", "/cache"}, []string{"/store", "/drop", "/cache"}},
		{[]string{"--store", "/store", "--push-to", "registry.example/mirror"}, []string{"/store", "/state/layoutproxy"}},
	} {
		flags := settingsOf(t, append([]string{"--cache-dir", ""}, c.flags...)...)
		if got := newDisks(flags).paths; !slices.Equal(got, c.want) {
			t.Errorf("disks with %q: got %q, want %q", c.flags, got, c.want)
		}
	}
}
