package bundle

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// Covers accepts a new publication only if it replaces all files of the broken one, including files
// that are not archives.
func TestCoversFilesBesideArchives(t *testing.T) {
	const archive, chunk, other = "platform.tar", "module.tar.0001.chunk", "releases.yaml"
	p := &Publisher{broken: &volume.Publication{Place: []volume.PublishedFile{{Name: archive}, {Name: other}}, Remove: []string{chunk, SumName(chunk)}}}
	all := map[string]bool{archive: true, "module.tar": true, other: true}
	if err := p.Covers(all); err != nil {
		t.Error(err)
	}
	for name := range all {
		all[name] = false
		if p.Covers(all) == nil {
			t.Errorf("Covers(all files except %s) = nil, want an error, because this file is missing", name)
		}
		all[name] = true
	}
}

// Before a publisher removes the journal, it syncs every directory that the publication changed,
// and its parents. Otherwise, a power cut could undo parts of a published bundle.
func TestChangedDirs(t *testing.T) {
	j := &volume.Publication{
		Place:  []volume.PublishedFile{{Name: "a/b/index.json"}, {Name: "platform.tar"}},
		Remove: []string{"c/d/module.tar", "old.tar"},
	}
	if diff := cmp.Diff([]string{".", "a", "a/b", "c", "c/d"}, slices.Sorted(maps.Keys(changedDirs(j)))); diff != "" {
		t.Errorf("changedDirs (-want +got):\n%s", diff)
	}
}
