package bundle

import (
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// A publication repairs a broken one only if it replaces all files of that one, also those beside
// archives.
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
			t.Errorf("%s is lost and not planned, and Covers accepts that", name)
		}
		all[name] = true
	}
}
