package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/importer/prune"
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
