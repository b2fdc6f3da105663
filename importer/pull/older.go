package pull

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// older are archives that lie there already: of an earlier pull, or of this one
// before it was interrupted. Their blobs need not be fetched.
type older struct{ archives []oldArchive }

type oldArchive struct {
	dir  string
	set  volume.Set
	vol  *volume.Archive
	list []volume.Layout
}

// openOlder opens the archives directly in the directories, in their order. What cannot be read is as good as not there. The error is the context's.
func openOlder(ctx context.Context, dirs ...string) (*older, error) {
	o := &older{}
	for _, dir := range dirs {
		found, err := volume.FindArchives(dir)
		if err != nil {
			continue
		}
		for _, set := range found.Sets {
			vol, err := volume.OpenArchive(ctx, set, "")
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if err != nil {
				continue
			}
			listing, err := vol.Layouts(ctx)
			if err != nil {
				return nil, err
			}
			o.archives = append(o.archives, oldArchive{dir, set, vol, listing.Layouts})
		}
	}
	return o, nil
}

// find says where an archive has the blob, and in which directory that lies; first of
// all it looks in layouts of the path.
func (o *older) find(layout string, d digest.Digest, size int64) (where extent.List, dir string) {
	if o == nil {
		return nil, ""
	}
	for _, a := range o.archives {
		if where, ok := a.locate(layout, d, size); ok {
			return where, a.dir
		}
	}
	for _, a := range o.archives {
		for _, l := range a.list {
			if where, ok := a.locate(l.Path, d, size); ok {
				return where, a.dir
			}
		}
	}
	return nil, ""
}

func (old *oldArchive) locate(layout string, d digest.Digest, size int64) (extent.List, bool) {
	where, err := old.vol.Locate(layout, d)
	return where, err == nil && (size < 0 || where.Size() == size)
}

// same says whether a directory holds an archive in these files that is, as far as
// names, sizes and indexes tell, what would be written.
func (o *older) same(dir string, a *Archive, now []file) bool {
	for _, f := range now {
		if info, err := os.Stat(filepath.Join(dir, f.Name)); err != nil || info.Size() != f.Size {
			return false
		}
	}
	for i := range o.archives {
		if old := &o.archives[i]; old.dir == dir && old.set.Name == a.Name && old.set.Chunked == (now[0].Name != a.Name) {
			return old.vol.Trouble().Reason == "" && old.holds(a)
		}
	}
	return false
}

// holds says whether the archive has the layouts, their indexes to the byte, and
// their blobs by name and size.
func (old *oldArchive) holds(a *Archive) bool {
	if len(old.list) != len(a.Layouts) {
		return false
	}
	indexes := map[string]volume.Layout{}
	for _, l := range old.list {
		indexes[l.Path] = l
	}
	for _, l := range a.Layouts {
		want, err := indexJSON(l.Images)
		have, ok := indexes[l.Path]
		if err != nil || !ok || have.Index.Size() != int64(len(want)) {
			return false
		}
		if data, err := have.Index.ReadAll(); err != nil || string(data) != string(want) {
			return false
		}
		for _, b := range l.blobs {
			if where, err := old.vol.Locate(l.Path, b.Digest); err != nil || where.Size() != b.Size {
				return false
			}
		}
	}
	return true
}

// prove reads a blob to its end and says whether it has its digest.
func prove(ctx context.Context, where extent.List, d digest.Digest) (bool, error) {
	r, err := where.Open()
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, extent.ErrStale) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer r.Close()
	v := d.Verifier()
	// Without the reader's own methods: what is read has to pass the verifier.
	if _, err := io.CopyBuffer(v, struct{ io.Reader }{withContext{ctx, r}}, make([]byte, 1<<18)); err != nil {
		return false, ctx.Err() // one that cannot be read is fetched
	}
	return v.Verified(), nil
}

// withContext is a reader that fails when the context has ended.
type withContext struct {
	ctx context.Context // of the one copy that it is made for
	r   io.Reader
}

func (w withContext) Read(p []byte) (int, error) {
	if err := w.ctx.Err(); err != nil {
		return 0, err
	}
	return w.r.Read(p)
}
