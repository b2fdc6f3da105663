package imagefile

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// search looks for files in layers, from the top down.
type search struct {
	missing map[string]bool // the names of files that are neither found nor removed so far
	found   map[string][]byte
	limit   int64 // maximum number of unpacked bytes per layer
}

func newSearch(names ...string) *search {
	s := &search{missing: map[string]bool{}, found: map[string][]byte{}, limit: maxUnpacked}
	for _, name := range names {
		s.missing[name] = true
	}
	return s
}

// searchLayer searches one layer, which is a tar archive and may be compressed.
func (s *search) searchLayer(r io.Reader) error {
	unpacked, closeReader, err := decompress(bufio.NewReaderSize(r, 1<<16))
	if err != nil {
		return err
	}
	defer closeReader()
	removed := map[string]bool{} // paths that this layer removes from the layers below
	for t := tar.NewReader(&bounded{unpacked, s.limit, s.limit}); len(s.missing) > 0; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := s.searchEntry(t, h, removed); err != nil {
			return err
		}
	}
	for name := range s.missing {
		if slices.ContainsFunc(removers(name), func(p string) bool { return removed[p] }) {
			delete(s.missing, name)
		}
	}
	return nil
}

func (s *search) searchEntry(r io.Reader, h *tar.Header, removed map[string]bool) error {
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	dir, base := path.Split(name)
	if base == ".wh..wh..opq" {
		if dir == "" {
			dir = "./"
		}
		s.noteRemoved(dir, removed)
		return nil
	}
	if hidden, ok := strings.CutPrefix(base, ".wh."); ok {
		s.noteRemoved(dir+hidden, removed)
		return nil
	}
	s.noteReplaced(name, h.Typeflag, removed)
	if !s.missing[name] || h.Typeflag == tar.TypeDir {
		return nil
	}
	if h.Typeflag != tar.TypeReg {
		return fmt.Errorf("%s is not a regular file", name)
	}
	data, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if len(data) > MaxFile {
		return fmt.Errorf("%s has more than %d bytes", name, MaxFile)
	}
	s.found[name] = data
	delete(s.missing, name)
	return nil
}

// noteRemoved records hidden, a path that a whiteout removes. It ignores whiteouts that affect no
// missing file, because a layer may contain any number of them.
func (s *search) noteRemoved(hidden string, removed map[string]bool) {
	for name := range s.missing {
		if slices.Contains(removers(name), hidden) {
			removed[hidden] = true
		}
	}
}

// noteReplaced records which path an entry replaces in the layers below, if that affects a missing
// file. A directory does not replace a directory. Any other entry replaces what has its path, and
// everything below that path (OCI image layer specification, "Changeset over existing files"). An
// entry implies the directories that contain it.
func (s *search) noteReplaced(name string, typeflag byte, removed map[string]bool) {
	if typeflag == tar.TypeXGlobalHeader {
		return // this entry is not a file
	}
	for missing := range s.missing {
		switch {
		case strings.HasPrefix(name, missing+"/"), name == missing && typeflag == tar.TypeDir:
			removed[missing] = true
		case strings.HasPrefix(missing, name+"/") && typeflag != tar.TypeDir:
			removed[name] = true
		}
	}
}

// removers returns the paths whose removal by a whiteout removes a file: those of the file and of
// its parent directories. A directory path with a slash at the end stands for everything in the
// directory.
func removers(name string) (all []string) {
	for p := name; p != "." && p != "/"; p = path.Dir(p) {
		all = append(all, p, path.Dir(p)+"/")
	}
	return all
}

// bounded is a reader that fails after limit bytes.
type bounded struct {
	r           io.Reader
	left, limit int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("it unpacks to more than %d bytes, the limit for reading files of an image: check that the tag is right", b.limit)
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// decompress returns a reader of the decompressed content, and a function that closes the reader.
// It detects the compression from the first bytes.
func decompress(b *bufio.Reader) (io.Reader, func(), error) {
	magic, err := b.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	switch {
	case len(magic) >= 2 && magic[0] == 0x1f && magic[1] == 0x8b:
		z, err := gzip.NewReader(b)
		return z, func() {}, err
	case string(magic) == "\x28\xb5\x2f\xfd":
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return b, func() {}, nil
}
