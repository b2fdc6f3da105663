package main

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/importer/prune"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/buckettest"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// After a prune, the command also removes the images of earlier prunes whose grace period is over. It prints
// the generation of the store after that. If the user interrupts only this removal, the prune is done.
func TestPruneRemovesImagesOfEarlierPrunes(t *testing.T) {
	for name, interrupted := range map[string]bool{"complete": false, "interrupted": true} {
		t.Run(name, func(t *testing.T) {
			store := importertest.Scratch(t) + "/store"
			add := func(tags ...string) {
				tree := layouttest.New(t, t.TempDir())
				l := tree.Layout("app")
				for _, tag := range tags {
					l.Tag(l.Image(layouttest.Image{Name: tag}), tag)
				}
				l.Write()
				importertest.Imported(t, store, tree.Dir())
			}
			add("v1.0.0", "v1.1.0")
			request := prune.Request{Policy: prune.Policy{KeepNewest: 1}, Grace: 15 * time.Minute}
			earlier, err := prune.New(prune.Options{Store: store, Now: func() time.Time { return time.Now().Add(-time.Hour) }})
			importertest.Must(t, err)
			_, err = earlier.Run(t.Context(), request)
			importertest.Must(t, err)
			add("v1.2.0")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			p, err := prune.New(prune.Options{Store: store, Before: func(op, path string) error {
				if interrupted && op == "remove" && path == journal.File {
					cancel() // the publication is complete
				}
				return nil
			}})
			importertest.Must(t, err)
			flags := &pruneFlags{store: store, request: request, yes: true}
			plan, generation, err := flags.run(ctx, &console.Output{Log: zap.NewNop()}, p)
			if err != nil || plan.Remove.Tags != 1 {
				t.Fatalf("prune: the plan removes %d tags, error %v; want 1 tag and no error", plan.Remove.Tags, err)
			}
			state, err := journal.ReadState(store)
			importertest.Must(t, err)
			if want := map[bool]uint64{false: 5, true: 4}[interrupted]; generation != want || state.Generation != want {
				t.Errorf("the prune reports the generation %d, and the store has the generation %d, want %d", generation, state.Generation, want)
			}
			var text strings.Builder
			importertest.Must(t, printDone(&text, flags, plan, generation))
			if want := "done: the store is at generation "; !strings.HasPrefix(text.String(), want) {
				t.Errorf("the prune prints %q, want %q", text.String(), want)
			}
		})
	}
}

// A prune whose plan is carried out has succeeded, even if images of earlier prunes cannot be removed
// afterwards, for example because an import takes the lock, or because the object store fails.
func TestPruneSucceedsIfOnlyItsSweepFails(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", buckettest.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", buckettest.SecretKey)
	s3 := buckettest.Start(t)
	store := "s3://" + buckettest.Bucket + "/store"
	i, err := importer.New(importer.Options{Store: store, Buckets: s3.Buckets(t)})
	layouttest.Try(t, err)
	for _, tag := range []string{"v1.0.0", "v1.1.0"} {
		dir := t.TempDir()
		layouttest.Publish(t, dir, "app", tag)
		_, err := i.Import(t.Context(), dir)
		layouttest.Try(t, err)
	}
	published := false
	s3.Fail(func(r buckettest.Request) buckettest.Fault {
		if published {
			return buckettest.Fault{Status: http.StatusForbidden, Code: "AccessDenied"}
		}
		published = r.Operation == buckettest.Put && strings.HasSuffix(r.Key, journal.StateFile)
		return buckettest.Fault{}
	})
	out, status := output(t, "prune", "--store", store, "--s3-endpoint", s3.URL, "--s3-path-style", "--cache-dir", "", "--keep-newest", "1", "--yes")
	if want := "done: the store is at generation 3\n"; status != 0 || !strings.Contains(out, want) || !strings.Contains(out, "the next prune or import will try again") {
		t.Errorf("prune ended with %d, want 0, and the line %q and a warning in its output:\n%s", status, want, out)
	}
	s3.Fail(nil)
	if out, _ := output(t, "list", store, "--s3-endpoint", s3.URL, "--s3-path-style", "--cache-dir", ""); strings.Contains(out, "v1.0.0") || !published {
		t.Errorf("after the prune, list prints v1.0.0, want only v1.1.0:\n%s", out)
	}
}
