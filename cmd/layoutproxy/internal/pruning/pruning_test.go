package pruning

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/prune"
	"github.com/layoutproxy/layoutproxy/importer/ready"
	"github.com/layoutproxy/layoutproxy/layoutstore"
)

type needed struct {
	repository string
	digest     digest.Digest
}

func partsOf(images ...ready.Image) map[needed]bool {
	all := map[needed]bool{}
	for _, i := range images {
		if i.State != ready.Complete {
			continue
		}
		all[needed{i.Repository, i.Digest}] = true
		for _, c := range i.Content {
			all[needed{i.Repository, c.Digest}] = true
		}
	}
	return all
}

// A plan is refused if it removes any manifest or blob of an image that a platform version needs.
// The bundle in testdata/d8 was written by d8.
func TestPlanThatBreaksVersionIsRefused(t *testing.T) {
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{"../../testdata/d8"}})
	if err != nil {
		t.Fatal(err)
	}
	v := &verdicts{}
	if _, err := v.declared(t.Context(), tree.Snapshot()); err != nil {
		t.Fatal(err)
	}
	platform, rest := map[needed]bool{}, partsOf(v.facts.Databases...)
	for _, b := range v.facts.Builds {
		maps.Copy(platform, partsOf(slices.Concat([]ready.Image{b.Platform, b.Installer, b.Entry}, b.Declared, b.Own)...))
		maps.Copy(rest, partsOf(b.Standalone)) // A version can be ready without its standalone image.
	}
	for _, c := range v.facts.Channels {
		maps.Copy(rest, partsOf(c.Image))
	}
	for _, m := range v.facts.Modules {
		for _, x := range m.Versions {
			maps.Copy(rest, partsOf(append(x.Declared, x.Image, x.Entry)...))
		}
		for _, c := range m.Channels {
			maps.Copy(rest, partsOf(c.Image))
		}
	}
	effect := func(without needed) prune.Effect {
		content := map[string]map[digest.Digest]bool{}
		for _, parts := range []map[needed]bool{platform, rest} {
			for n := range parts {
				if content[n.repository] == nil {
					content[n.repository] = map[digest.Digest]bool{}
				}
				content[n.repository][n.digest] = n != without
			}
		}
		return prune.Effect{Outcome: prune.Outcome{Content: content}}
	}
	if len(platform) < 20 {
		t.Fatalf("the platform versions have %d manifests and blobs, want at least 20", len(platform))
	}
	if err := v.check(effect(needed{})); err != nil {
		t.Errorf("a plan that removes nothing gets the error %v, want none", err)
	}
	for n := range platform {
		if err := v.check(effect(n)); !errors.Is(err, prune.ErrNotReady) {
			t.Errorf("a plan that removes %s@%s gets the error %v, want %v", n.repository, n.digest, err, prune.ErrNotReady)
		}
	}
}
