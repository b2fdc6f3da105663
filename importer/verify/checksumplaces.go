package verify

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// directoryFiles implements checksumFiles for a directory.
type directoryFiles struct {
	dir string
	*volume.Files
}

func (d directoryFiles) find(name string) extent.List {
	info, err := d.Stat(name)
	if err != nil || !info.Mode().IsRegular() {
		return nil
	}
	return extent.List{{File: d.file(name), Len: info.Size(), Whole: true}}
}

func (d directoryFiles) read(ctx context.Context, name string) ([]byte, error) {
	info, err := d.Stat(name)
	if err != nil || !info.Mode().IsRegular() {
		return nil, err
	}
	data, err := extent.ReadFile(ctx, d.file(name), maxSums)
	if err != nil {
		return nil, err
	}
	return append([]byte{}, data...), nil // for an empty file, return an empty slice instead of nil
}

func (d directoryFiles) file(name string) checksumTarget {
	at, _ := d.At(name)
	return checksumTarget{d.dir, at, name}
}

// checksumTarget is a file in the directory of a source, whose checksum is compared.
type checksumTarget struct {
	dir, at string
	name    string // name in the bundle; if the file is staged, at is a different name
}

// Open implements extent.File. If the file was staged, it may already be at its final place.
func (f checksumTarget) Open(ctx context.Context) (*os.File, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	file, err := plainfile.OpenInDir(f.dir, f.at)
	if errors.Is(err, fs.ErrNotExist) && f.at != f.name {
		file, err = plainfile.OpenInDir(f.dir, f.name)
	}
	return file, err
}

func (f checksumTarget) String() string { return filepath.Join(f.dir, f.name) }

func (r *run) findInBuckets(ctx context.Context) error {
	places := map[string]layoutstore.SourceObjects{}
	archives := map[string][]string{} // names by place; nil if the place itself is a source
	for _, s := range r.snapshot.Objects() {
		if _, known := places[s.Dir]; !known || s.Archive == "" {
			places[s.Dir] = s
		}
		addArchive(archives, s.Dir, s.Archive)
	}
	for dir, s := range places {
		if err := r.findAmongObjects(ctx, s.Objects, dir, archives[dir]); err != nil {
			return err
		}
	}
	return nil
}

// findAmongObjects schedules the comparison of the checksums at a place in a bucket. archives has
// the same meaning as in findIn.
func (r *run) findAmongObjects(ctx context.Context, objects *volume.Objects, dir string, archives []string) error {
	if archives != nil {
		if _, _, err := objects.List(ctx); err != nil {
			return err
		}
	}
	if n := objects.Forgotten(); n > 0 {
		r.causes.add(layoutstore.Problem{Kind: layoutstore.Limited, Path: dir,
			Reason: fmt.Sprintf("too many objects that belong to no layout: the checksums of %d objects are not compared: move such objects elsewhere", n)})
	}
	data, err := objects.ReadObject(ctx, inventory.Name, inventory.MaxSize)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case layoutstore.IsExhausted(err) || errors.Is(err, layoutstore.ErrStale):
		return err
	case err != nil:
		data = nil // the scan has already reported this error
	}
	return r.findIn(ctx, checksumDir{dir, newObjectFiles(objects)}, archives, data)
}

// objectFiles implements checksumFiles for a place in a bucket.
type objectFiles struct {
	*volume.Objects
	names []string
}

func newObjectFiles(objects *volume.Objects) objectFiles {
	var names []string
	for key := range objects.Files() {
		if !strings.Contains(key, "/") {
			names = append(names, key)
		}
	}
	slices.Sort(names)
	return objectFiles{objects, names}
}

// Names implements checksumFiles.
func (o objectFiles) Names() []string { return o.names }

func (o objectFiles) find(name string) extent.List { return o.File(name) }

func (o objectFiles) read(ctx context.Context, name string) ([]byte, error) {
	return o.ReadObject(ctx, name, maxSums)
}
