package journal

import (
	"bytes"
	"context"
	"encoding/json"
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

// header is what a reader reads of a journal: which layouts it changes, and where it
// stores their old indexes.
type header struct {
	Generation uint64
	Packed     []Packed
	Revived    []Pruned
	Prune      *Prune
	dir        string
	info       fs.FileInfo
	indexes    []headerIndex
	byPath     map[string]int
}

type headerIndex struct {
	path          string
	off, old, new int64 // the old bytes begin at off, the new ones follow; old is -1 if there was no index
}

// readHeader reads the header of a store's journal, or returns nil if the store has none.
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
	line, err := readLine(r)
	if err != nil {
		return err
	}
	var first headerLine
	if err := json.Unmarshal(line, &first); err != nil {
		return err
	}
	if err := checkFormat(first.Format); err != nil {
		return err
	}
	h.Generation, h.Packed, h.Revived, h.Prune = first.Generation, first.Packed, first.Revived, first.Prune
	off := int64(len(line))
	for i, ix := range first.Indexes {
		if ix.Path != "." && !names.IsRepository(ix.Path) || ix.Old < -1 || ix.Old > size || ix.New < 0 || ix.New > size {
			return fmt.Errorf("malformed entry of an index: %.300q", ix.Path)
		}
		h.indexes = append(h.indexes, headerIndex{ix.Path, off, ix.Old, ix.New})
		h.byPath[ix.Path] = i
		if off += max(ix.Old, 0) + ix.New; off > size {
			break
		}
	}
	if off != size {
		return fmt.Errorf("it has %d bytes, but its header says %d", size, off)
	}
	return nil
}

// readLine reads the first line with its newline.
func readLine(r io.Reader) ([]byte, error) {
	var line []byte
	r = io.LimitReader(r, MaxFile)
	for chunk := make([]byte, 64<<10); ; {
		n, err := r.Read(chunk)
		if i := bytes.IndexByte(chunk[:n], '\n'); i >= 0 {
			return append(line, chunk[:i+1]...), nil
		}
		line = append(line, chunk[:n]...)
		if err != nil {
			return nil, errors.New("it has no header")
		}
	}
}

func (h *header) same(other *header) bool {
	return os.SameFile(h.info, other.info) && h.info.ModTime().Equal(other.info.ModTime()) && h.Generation == other.Generation
}

// oldIndex locates the index of the layout at path before the import; nil if it had
// none. ok reports whether the import changes it.
func (h *header) oldIndex(path string) (where extent.List, ok bool) {
	i, ok := h.byPath[path]
	if !ok || h.indexes[i].old < 0 {
		return nil, ok
	}
	ix := h.indexes[i]
	return extent.List{{File: h, Off: ix.off, Len: ix.old}}, true
}

// Open implements extent.File: an old index is read from the journal while that exists.
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
