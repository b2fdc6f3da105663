package layoutstore

import (
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
)

// A request may search a table for a blob while the last manifest completes the table. If a lock is
// missing, the race detector reports it.
func TestFindBlobWhileTableIsFinished(t *testing.T) {
	b := newBuilder(&Repository{})
	for _, content := range []string{"one", "two", "three"} {
		b.addBlob(closure.Ref{Descriptor: Descriptor{Digest: digest.FromString(content), Size: 3}}, 0)
	}
	found := make(chan *Blob)
	go func() {
		from := 0
		found <- b.findBlob(t.Context(), digest.FromString("unknown"), &from)
	}()
	table := b.finish(nil)
	if blob := <-found; blob != nil || len(table.claims) != 3 {
		t.Errorf("findBlob(unknown blob) = %v, want nil; the table has %d claims, want 3", blob, len(table.claims))
	}
}
