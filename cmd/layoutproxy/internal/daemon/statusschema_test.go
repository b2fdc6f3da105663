package daemon

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/importer/drop"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/buckettest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/page"
)

// docs/status.schema.json has the same keys as /status, at every level. It requires exactly those
// keys that are always present.
func TestStatusSchemaMatchesProgram(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../../../docs/status.schema.json")
	layouttest.Try(t, err)
	type object struct {
		Required   []string
		Properties map[string]any
	}
	var schema struct {
		object
		Defs map[string]object `json:"$defs"`
	}
	layouttest.Try(t, json.Unmarshal(data, &schema))
	layouttest.Try(t, json.Unmarshal(data, &schema.object))
	now := time.Now()
	full := map[string]any{
		"":        Status{},
		"source":  layoutstore.SourceStatus{},
		"problem": layoutstore.Problem{MoreTags: 1, Harmless: true},
		"job":     drop.Status{Kind: "archive"},
		"prune":   PruneStatus{},
		"scrub":   page.Scrub{Ended: &now},
		"disk":    page.Disk{},
		"version": versionVerdict{},
	}
	always := map[string]any{"": Status{}, "source": layoutstore.SourceStatus{}, "problem": layoutstore.Problem{}, "job": drop.Status{}, "prune": PruneStatus{}, "scrub": page.Scrub{},
		"disk": page.Disk{}, "version": versionVerdict{}}
	if len(schema.Defs) != len(full)-1 {
		t.Errorf("the schema has %d definitions, want %d: one per object of /status", len(schema.Defs), len(full)-1)
	}
	keys := func(v any) []string {
		t.Helper()
		data, err := json.Marshal(v)
		layouttest.Try(t, err)
		var m map[string]any
		layouttest.Try(t, json.Unmarshal(data, &m))
		return slices.Sorted(maps.Keys(m))
	}
	for name := range full {
		o := schema.object
		if name != "" {
			o = schema.Defs[name]
		}
		if want, got := keys(full[name]), slices.Sorted(maps.Keys(o.Properties)); !slices.Equal(want, got) {
			t.Errorf("schema: object %q has the properties %q, want %q, those of the program", name, got, want)
		}
		if want, got := keys(always[name]), slices.Sorted(slices.Values(o.Required)); !slices.Equal(want, got) {
			t.Errorf("schema: object %q requires the properties %q, want %q, which the program always writes", name, got, want)
		}
	}
}

// The schema lists exactly the kinds that sources have.
func TestStatusSchemaListsKindsOfSources(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../../../docs/status.schema.json")
	layouttest.Try(t, err)
	var schema struct {
		Defs struct {
			Source struct {
				Properties struct {
					Kind struct{ Enum []string }
				}
			}
		} `json:"$defs"`
	}
	layouttest.Try(t, json.Unmarshal(data, &schema))
	layouts, archives, store := t.TempDir(), t.TempDir(), buckettest.Start(t)
	layouttest.Publish(t, layouts, "app", "v1")
	for _, name := range []string{"a.tar", "b.tar"} {
		layouttest.New(t, layouts).Archive(filepath.Join(archives, name), layouttest.Archive{})
	}
	store.Write(t, "bundle/a.tar", layouttest.ReadFile(t, filepath.Join(archives, "a.tar")))
	layouttest.Split(t, filepath.Join(archives, "b.tar"), 2000)
	sources := []string{layouts, archives, "s3://" + buckettest.Bucket + "/bundle"}
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: sources, Buckets: store.Readers(t)})
	layouttest.Try(t, err)
	kinds := map[string]bool{}
	for _, s := range tree.Snapshot().Sources() {
		kinds[s.Kind] = true
	}
	if want, got := slices.Sorted(maps.Keys(kinds)), slices.Sorted(slices.Values(schema.Defs.Source.Properties.Kind.Enum)); !slices.Equal(want, got) {
		t.Errorf("schema: a source has one of the kinds %q, want %q, those of the program", got, want)
	}
}
