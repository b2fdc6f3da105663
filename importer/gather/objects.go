package gather

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"path"
	"strings"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// addObjects is addFiles for sources in a bucket.
func addObjects(ctx context.Context, sources []string, s *layoutstore.Snapshot, o Options, b *inventory.Builder) error {
	at, wanted, ok := placeOf(sources)
	if !ok {
		return nil
	}
	if wanted == nil {
		wanted = map[string]bool{bundle.ReleasesFile: true}
		for _, layout := range objectPaths(s, at) {
			for _, name := range bundle.LayoutFiles(layout) {
				wanted[name] = true
			}
		}
	}
	place, err := bucket.ParsePlace(at)
	if err != nil {
		return err
	}
	reader := o.Buckets(place)
	var all []bucket.Object
	err = reader.List(ctx, "", func(object bucket.Object) error {
		if object.Key == journal.StateFile {
			return errStore
		}
		all = append(all, keepListed(object, wanted)...)
		return nil
	})
	if errors.Is(err, errStore) {
		return nil
	}
	for _, object := range all {
		if err != nil {
			break
		}
		var f inventory.File
		if f, err = listObject(ctx, reader, object, o.Checksums); err == nil {
			b.AddFile(f)
		}
	}
	return err
}

// errStore ends the list of a store.
var errStore = errors.New("a store")

// keepListed returns an object if an inventory lists it: archives and chunks at the top, their
// checksum files, and wanted names. Archives that are sources of their own are in wanted.
func keepListed(o bucket.Object, wanted map[string]bool) []bucket.Object {
	archive, isArchive := volume.IsArchive(o.Key)
	for _, sums := range bundle.FilesBeside("") {
		if !isArchive {
			archive, isArchive = volume.IsArchive(strings.TrimSuffix(o.Key, sums))
		}
	}
	all := wanted[bundle.ReleasesFile]
	if wanted[o.Key] || isArchive && !strings.ContainsRune(o.Key, '/') && !strings.HasPrefix(o.Key, ".") && (all || wanted[archive]) {
		return []bucket.Object{o}
	}
	return nil
}

// placeOf returns the one place of sources in a bucket; archives are those in it that are sources of
// their own, or nil if the place is one.
func placeOf(sources []string) (at string, archives map[string]bool, ok bool) {
	archives = map[string]bool{}
	for n, source := range sources {
		dir := volume.CleanPath(source)
		archive, isArchive := volume.IsArchive(path.Base(dir))
		if isArchive {
			dir = dir[:strings.LastIndex(dir, "/")]
		}
		if !bucket.IsPlace(dir) || n > 0 && dir != at {
			return "", nil, false
		}
		if at = dir; !isArchive {
			archives = nil
		}
		if archives != nil {
			archives[archive] = true
		}
	}
	return at, archives, true
}

// objectPaths are the paths of the layouts whose files are objects at a place.
func objectPaths(s *layoutstore.Snapshot, place string) (paths []string) {
	for _, at := range s.Paths() {
		repo, err := s.At(at)
		if err != nil {
			continue
		}
		for _, l := range repo.Layouts() {
			where, entry := l.Where()
			if rel, ok := strings.CutPrefix(where+"/", place+"/"); ok && entry == "" {
				paths = append(paths, path.Clean(rel))
			}
		}
	}
	return paths
}

// listObject describes an object for an inventory.
func listObject(ctx context.Context, r bucket.Reader, o bucket.Object, checksum bool) (inventory.File, error) {
	f := inventory.File{Name: o.Key, Size: o.Size}
	if !checksum {
		return f, nil
	}
	in, err := volume.ObjectExtent(r, o).OpenOnce(ctx)
	if err != nil {
		return f, err
	}
	defer in.Close()
	h := sha256.New()
	if _, err := io.Copy(h, in); err != nil {
		return f, err
	}
	f.SHA256 = hex.EncodeToString(h.Sum(nil))
	return f, nil
}
