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

// addObjects adds the objects of sources in a bucket to an inventory, as addFiles does for files.
func addObjects(ctx context.Context, sources []string, s *layoutstore.Snapshot, o Options, b *inventory.Builder) error {
	at, wanted, ok := placeOf(sources)
	if !ok {
		return nil
	}
	if wanted == nil {
		wanted = map[string]bool{bundle.ReleasesFile: true}
		for _, layout := range treePaths(s, func(where string) (string, bool) { return strings.CutPrefix(where+"/", at+"/") }) {
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
		if isListed(object.Key, wanted) {
			all = append(all, object)
		}
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

// errStore ends a listing when it turns out that the place is a store.
var errStore = errors.New("a store")

// isListed reports whether an inventory lists an object. wanted has the keys and archives to list.
// If it has ReleasesFile, the files of all archives directly in the place are listed, too.
func isListed(key string, wanted map[string]bool) bool {
	archive, isArchive := bundle.ArchiveOf(key)
	all := wanted[bundle.ReleasesFile]
	return wanted[key] || isArchive && !strings.ContainsRune(key, '/') && !strings.HasPrefix(key, ".") && (all || wanted[archive])
}

// placeOf returns the place in a bucket that contains all sources. archives has the names of the archives
// that are sources; it is nil if the place itself is a source. ok is false if the sources are at several
// places.
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

// listObject returns the name, the size and, if wanted, the checksum of an object for an inventory.
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
