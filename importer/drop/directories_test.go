package drop

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/importer/publish"
)

// directories returns all directories to sync after a move, including the parents of new
// directories. It terminates even if a record contains paths outside of the drop directory.
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
