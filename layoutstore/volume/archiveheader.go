package volume

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// uncheckedFile is a file of an archive, and is opened to read one entry. The offset of the entry
// comes from a cached index. So Open checks the entry's header before it opens the file.
type uncheckedFile struct {
	extent.File
	archive *Archive
	name    string
	entry   tarEntry
	number  int // the number of the entry in Archive.checked; negative if the entry has none
}

func (f *uncheckedFile) Open(ctx context.Context) (*os.File, error) {
	if err := f.archive.checkHeader(ctx, f.name, f.entry); err != nil {
		if errors.Is(err, extent.ErrStale) {
			f.archive.stale.Store(true)
		}
		return nil, err
	}
	if f.number >= 0 {
		f.archive.checked.add(f.number)
	}
	return f.File.Open(ctx)
}

func (f *uncheckedFile) Check(info fs.FileInfo) error { return f.File.(extent.Checker).Check(info) }

// bitSet is a set of small numbers that several goroutines may use at the same time.
type bitSet []atomic.Uint32

func (s bitSet) has(i int) bool { return s[i/32].Load()&(1<<(i%32)) != 0 }

func (s bitSet) add(i int) { s[i/32].Or(1 << (i % 32)) }

// checkHeader checks that the header before an entry contains the entry's name and size.
func (a *Archive) checkHeader(ctx context.Context, name string, e tarEntry) error {
	where, err := a.sliceBase(e.off-int64(e.header), int64(e.header))
	if err != nil {
		return fmt.Errorf("%s: %w: %w", a, extent.ErrStale, err)
	}
	header, err := where.ReadAll(ctx)
	if err != nil {
		return err
	}
	// The header may announce content of any size, but none of it is read.
	h, err := tar.NewReader(io.MultiReader(strings.NewReader(string(header)), zeros{})).Next()
	if err == nil && isSparse(h) {
		makePlain(h, header)
	}
	if err != nil || !a.index.isHeaderOf(name, h) || h.Size != e.size || refusal(h) != "" {
		return fmt.Errorf("%s: the header of %s is not where it was: %w", a, name, extent.ErrStale)
	}
	return nil
}

// isHeaderOf reports whether h is the header before the content of the named entry.
func (ix *tarIndex) isHeaderOf(name string, h *tar.Header) bool {
	want, linked := ix.headers[name]
	if !linked {
		want = name
	}
	have, illegal := cleanName(h.Name)
	return illegal == "" && have == want && h.Typeflag != tar.TypeLink
}

// zeros is an endless reader of zeros. It follows a header that is read alone, because a tar reader
// may read beyond the header.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
