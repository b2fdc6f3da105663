package pull

import (
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// The same pull repairs a publication that lost files, those beside the archives too.
func TestCoversFilesBesideArchives(t *testing.T) {
	w := &work{broken: &volume.Publication{Place: []volume.PublishedFile{{Name: platformArchive}, {Name: releasesName}}}}
	plan := &Plan{Archives: []*Archive{{Name: platformArchive}}, Files: []PlannedFile{{Name: releasesName}}}
	if err := w.covers(plan); err != nil {
		t.Error(err)
	}
	plan.Files = nil
	if w.covers(plan) == nil {
		t.Error("a file that is lost is not planned, and nobody minds")
	}
}
