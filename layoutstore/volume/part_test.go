package volume

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// sliceBase returns the same as a loop over all chunks. This includes empty chunks, and offsets
// outside of the archive.
func TestSliceBaseOfArchive(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var base extent.List
		for i := range r.IntN(8) {
			base = append(base, extent.Extent{File: &archiveFile{name: string(rune('a' + i))}, Len: int64(r.IntN(4) * r.IntN(3))})
		}
		a := &Archive{base: base, begins: beginsOf(base)}
		for off := int64(-1); off <= base.Size()+1; off++ {
			for n := int64(-1); n <= base.Size()-off+1; n++ {
				want, wantErr := base.Slice(off, n)
				got, err := a.sliceBase(off, n)
				if !slices.Equal(got, want) || (err == nil) != (wantErr == nil) {
					t.Fatalf("bytes %d to %d of %v: got %v and the error %v, want %v and %v", off, off+n, base, got, err, want, wantErr)
				}
			}
		}
	}
}
