package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/durable"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// ErrNotPacked reports that KeepPacked is set, but a layout of the bundle is not in an archive.
var ErrNotPacked = errors.New("not an archive, so it cannot be kept packed")

// archive is an archive that the import moves from the bundle into the store without unpacking it.
type archive struct {
	set volume.Set
	// dir is the directory that contains the archive or its chunks.
	dir string
	// files are the names of the archive's tar file or of its chunks.
	files []string
	// name is the archive's file name in the store, NAME.tar.
	name string
	// exists reports that the store already contains the archive.
	exists bool

	// copied lists the files that were copied into the store, because a hard link was impossible or unsafe.
	copied []Copied
}

func (s *session) archives(ctx context.Context, b *bundle) ([]*archive, error) {
	var all []*archive
	known := map[string]bool{}
	for _, source := range b.names {
		if bucket.IsPlace(source) {
			return nil, fmt.Errorf("%s: %w", source, ErrPackedFromBucket)
		}
		dir, only := dirOf(source), ""
		if dir != source {
			only, _ = volume.IsArchive(filepath.Base(source))
		}
		found, err := volume.FindArchives(dir)
		if err != nil {
			return nil, err
		}
		if found.Publishing {
			return nil, &IncompleteError{[]layoutstore.Problem{{Kind: layoutstore.Incomplete, Path: dir,
				Reason: "a pull into this directory has not moved its archives into place yet: run the pull again, or import without --keep-packed"}}}
		}
		for _, set := range found.Sets {
			if only != "" && set.Name != only || known[set.Path()] {
				continue
			}
			known[set.Path()] = true
			a := &archive{set: set, dir: dir}
			if err := s.chooseName(ctx, a, all); err != nil {
				return nil, err
			}
			all = append(all, a)
		}
	}
	for _, at := range b.snapshot.Paths() {
		repo, err := b.snapshot.At(at)
		if err != nil {
			return nil, err
		}
		for _, l := range repo.Layouts() {
			if !known[l.Volume()] {
				where, _ := l.Where()
				return nil, fmt.Errorf("%s: %w", where, ErrNotPacked)
			}
		}
	}
	return all, nil
}

// dirOf returns source if it is a directory, and otherwise the directory that contains it.
func dirOf(source string) string {
	if isDir(source) {
		return source
	}
	return filepath.Dir(source)
}

// chooseName finds the files of an archive, and chooses its name in the store: its own name NAME.tar or, if
// other content has this name, NAME.GENERATION.tar with the number of the next generation.
func (s *session) chooseName(ctx context.Context, a *archive, others []*archive) error {
	a.files = nil
	for _, f := range a.set.Files() {
		a.files = append(a.files, filepath.Base(f.Path))
	}
	base := strings.TrimSuffix(a.set.Name, ".tar")
	for n := 0; ; n++ {
		switch n {
		case 0:
			a.name = a.set.Name
		case 1:
			a.name = fmt.Sprintf("%s.%d.tar", base, s.store.State().Generation+1)
		default:
			a.name = fmt.Sprintf("%s.%d.%d.tar", base, s.store.State().Generation+1, n)
		}
		if slices.ContainsFunc(others, func(o *archive) bool { return o.name == a.name }) {
			continue
		}
		taken, same, err := s.compareInStore(ctx, a)
		if err != nil {
			return err
		}
		if a.exists = same; same || !taken {
			return s.findEarlierName(ctx, a)
		}
	}
}

// findEarlierName checks whether an earlier import stored the archive under another name. If so, it
// sets a.name to that name.
func (s *session) findEarlierName(ctx context.Context, a *archive) error {
	name := a.name
	for _, packed := range s.store.State().Packed {
		if a.exists || packed.Name != a.set.Name {
			continue
		}
		a.name = packed.File
		var err error
		if _, a.exists, err = s.compareInStore(ctx, a); err != nil {
			return err
		}
	}
	if !a.exists {
		a.name = name
	}
	return nil
}

func (a *archive) storeName(file string) string { return a.name + strings.TrimPrefix(file, a.set.Name) }

// compareInStore looks in the store for a file or chunks with the archive's name. taken reports
// whether it found any. same reports whether they have the same bytes as the archive.
func (s *session) compareInStore(ctx context.Context, a *archive) (taken, same bool, err error) {
	have, err := s.filesUnder(a.name)
	if err != nil {
		return false, false, err
	}
	_, err = s.store.Root().Lstat(a.name)
	if len(have) == 0 && errors.Is(err, fs.ErrNotExist) {
		return false, false, nil
	}
	if len(have) != len(a.files) {
		return true, false, nil
	}
	for _, file := range a.files {
		equal, err := s.hasSameBytes(ctx, filepath.Join(a.dir, file), a.storeName(file))
		if err != nil || !equal {
			return true, false, err
		}
	}
	return true, true, nil
}

func (s *session) filesUnder(archive string) ([]string, error) {
	entries, err := fs.ReadDir(s.store.Root().FS(), ".")
	return filesOf(archive, entries), err
}

// filesOf returns the entries of a directory that belong to an archive: its tar file or its chunks.
func filesOf(archive string, entries []fs.DirEntry) (names []string) {
	for _, e := range entries {
		if of, ok := volume.IsArchive(e.Name()); ok && of == archive && !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

// hasSameBytes reports whether a file outside of the store has the same bytes as a file in it.
func (s *session) hasSameBytes(ctx context.Context, outside, inside string) (bool, error) {
	a, err := plainfile.Open(outside)
	if err != nil {
		return false, err
	}
	defer a.Close()
	b, err := plainfile.OpenIn(s.store.Root(), inside)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer b.Close()
	x, err := a.Stat()
	if err != nil {
		return false, err
	}
	y, err := b.Stat()
	if err != nil || x.Size() != y.Size() || os.SameFile(x, y) {
		return err == nil && os.SameFile(x, y), err
	}
	return equalReaders(ctx, a, b)
}

func equalReaders(ctx context.Context, a, b io.Reader) (bool, error) {
	x, y := make([]byte, bufferSize), make([]byte, bufferSize)
	for {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n, err := io.ReadFull(a, x)
		m, errB := io.ReadFull(b, y)
		if string(x[:n]) != string(y[:m]) {
			return false, nil
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return true, nil
		case err != nil || errB != nil:
			return false, errors.Join(err, errB)
		}
	}
}

// stageArchive links or copies the files of an archive into staging (see [session.stageFileOf]). It
// fails with layoutstore.ErrStale if a file changed after its content was proven.
func (s *session) stageArchive(ctx context.Context, a *archive) error {
	if a.exists {
		return nil
	}
	if err := s.store.MkdirAll(publish.StagedPath(".")); err != nil {
		return err
	}
	for _, file := range a.files {
		name := filepath.Join(a.dir, file)
		reason, err := s.stageFileOf(ctx, name, publish.StagedPath(a.storeName(file)))
		if err != nil {
			return err
		}
		if reason != "" {
			a.copied = append(a.copied, Copied{name, reason})
		}
	}
	found, err := volume.FindArchives(a.dir)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(found.Sets, func(set volume.Set) bool { return set.Name == a.set.Name && set.Written() == a.set.Written() }) {
		return layoutstore.ErrStale
	}
	return nil
}

// copyFrom copies a file into the store if there is enough free space. If the file system supports
// it, both files share their blocks until one of them is written to.
func (s *session) copyFrom(ctx context.Context, from, to string) error {
	in, err := plainfile.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := s.store.Create(to)
	if err != nil {
		return err
	}
	if clone(out.File(), in) == nil {
		return out.Close()
	}
	if space, err := durable.SpaceOf(out.File()); err == nil && info.Size() > space.Free {
		out.Discard()
		return &NoSpaceError{s.options.Store, "bytes", info.Size(), space.Free}
	}
	if err := copyAll(ctx, out, in, make([]byte, bufferSize)); err != nil {
		out.Discard()
		return err
	}
	return out.Close()
}

func sameDir(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
