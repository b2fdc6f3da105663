package drop

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/importer/publish"
)

// Before the record of a move is removed, the parents of directories that the move has created are synced,
// too. Even if a record has names that leave the drop directory, the search for parents ends.
func TestDirectoriesOfMove(t *testing.T) {
	for _, c := range []struct {
		move savedMove
		want []string
	}{
		{savedMove{Name: "a.tar", To: "done/2", Files: []publish.MovedFile{{Name: "a.tar"}}}, []string{"/drop", "/drop/done", "/drop/done/2"}},
		{savedMove{Name: "b", To: "done", Files: []publish.MovedFile{{Name: "b/x/a.tar"}}}, []string{"/drop", "/drop/b", "/drop/b/x", "/drop/done", "/drop/done/b", "/drop/done/b/x"}},
		{savedMove{Name: "/", Files: []publish.MovedFile{{Name: "../x"}, {Name: ""}}}, []string{"/", "/drop"}},
	} {
		if diff := cmp.Diff(c.want, slices.Sorted(maps.Keys(c.move.directories("/drop")))); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.move, diff)
		}
	}
}
