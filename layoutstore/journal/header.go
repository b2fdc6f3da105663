package journal

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// header is the parsed first line of a journal. It also records where the journal contains the indexes.
type header struct {
	headerLine
	dir  string
	info fs.FileInfo
	// offsets contains the offset of the old bytes of each index. The new bytes follow them.
	offsets []int64
	// byPath maps the path of a layout to the number of its index in the journal.
	byPath map[string]int
}

// readHeader reads the header of the journal in a store. It returns nil if there is no journal.
func readHeader(dir string) (*header, error) {
	f, err := plainfile.OpenInDir(dir, File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	h := &header{dir: dir, info: info, byPath: map[string]int{}}
	if err := h.parse(f, info.Size()); err != nil {
		return nil, fmt.Errorf("journal of the store, %s: %w", path.Join(dir, File), err)
	}
	return h, nil
}

func (h *header) parse(r io.Reader, size int64) error {
	line, err := bufio.NewReaderSize(io.LimitReader(r, MaxFile), 64<<10).ReadBytes('\n')
	if err != nil {
		return errors.New("the header is missing")
	}
	if err := decode(line, &h.headerLine, &h.Format); err != nil {
		return err
	}
	off := int64(len(line))
	for i, ix := range h.Indexes {
		if ix.Path != "." && !names.IsRepository(ix.Path) || ix.Old < -1 || ix.Old > size || ix.New < 0 || ix.New > size {
			return fmt.Errorf("malformed entry for the index of %.300q", ix.Path)
		}
		h.offsets = append(h.offsets, off)
		h.byPath[ix.Path] = i
		if off += max(ix.Old, 0) + ix.New; off > size {
			break
		}
	}
	if off != size {
		return fmt.Errorf("the file has %d bytes, but its header says %d", size, off)
	}
	return nil
}

func (h *header) same(other *header) bool {
	return os.SameFile(h.info, other.info) && h.info.ModTime().Equal(other.info.ModTime()) && h.Generation == other.Generation
}

// oldBytes returns where the journal contains the old bytes of index i. It returns nil if there was no index.
func (h *header) oldBytes(i int) extent.List {
	if h.Indexes[i].Old < 0 {
		return nil
	}
	return extent.List{{File: h, Off: h.offsets[i], Len: h.Indexes[i].Old}}
}

// newBytes returns where the journal contains the new bytes of index i.
func (h *header) newBytes(i int) extent.List {
	return extent.List{{File: h, Off: h.offsets[i] + max(h.Indexes[i].Old, 0), Len: h.Indexes[i].New}}
}

// Open implements extent.File. It fails with ErrStale if the journal has been removed or replaced.
func (h *header) Open(ctx context.Context) (*os.File, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	f, err := plainfile.OpenInDir(h.dir, File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w: %w", h, extent.ErrStale, err)
	}
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !os.SameFile(info, h.info) {
		f.Close()
		return nil, errors.Join(err, fmt.Errorf("%s: %w", h, extent.ErrStale))
	}
	return f, nil
}

func (h *header) String() string { return path.Join(h.dir, File) }
