package pull

import (
	"context"
	"io"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// older are archives and trees that are there already: of an earlier pull, or of this
// one before it was interrupted. Their blobs need not be fetched.
type older struct{ volumes []oldVolume }

// oldVolume is an archive of a directory, or its tree.
type oldVolume struct {
	dir  string
	vol  volume.Volume
	list []volume.Layout
}

// openOlder opens the archives directly in the directories, in their order, and then the
// trees of these. What cannot be read is as good as not there. The error is the context's.
func openOlder(ctx context.Context, dirs ...string) (*older, error) {
	o := &older{}
	for _, dir := range dirs {
		found, err := volume.FindAnyArchives(dir)
		if err != nil {
			continue
		}
		for _, set := range found.Sets {
			vol, err := volume.OpenArchive(ctx, set, "")
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if err == nil {
				err = o.take(ctx, dir, vol)
			}
			if ctx.Err() != nil {
				return nil, err
			}
		}
	}
	for _, dir := range dirs {
		if tree, err := volume.OpenDir(dir); err == nil {
			if err := o.take(ctx, dir, tree); ctx.Err() != nil {
				return nil, err
			}
		}
	}
	return o, nil
}

// take adds a volume, if it has any layouts.
func (o *older) take(ctx context.Context, dir string, vol volume.Volume) error {
	listing, err := vol.Layouts(ctx)
	if err == nil && len(listing.Layouts) > 0 {
		o.volumes = append(o.volumes, oldVolume{dir, vol, listing.Layouts})
	}
	return err
}

// find says where an archive or tree has the blob, and in which directory that lies; first of
// all it looks in layouts of the path.
func (o *older) find(layout string, d digest.Digest, size int64) (where extent.List, dir string) {
	if o == nil {
		return nil, ""
	}
	for _, a := range o.volumes {
		if where, ok := a.locate(layout, d, size); ok {
			return where, a.dir
		}
	}
	for _, a := range o.volumes {
		for _, l := range a.list {
			if where, ok := a.locate(l.Path, d, size); ok {
				return where, a.dir
			}
		}
	}
	return nil, ""
}

func (old *oldVolume) locate(layout string, d digest.Digest, size int64) (extent.List, bool) {
	where, err := old.vol.Locate(layout, d)
	return where, err == nil && (size < 0 || where.Size() == size)
}

// prove reads a blob to its end and says whether it has its digest. What cannot be read
// has not: the error is the context's.
func prove(ctx context.Context, where extent.List, d digest.Digest) (bool, error) {
	r, err := where.Open()
	if err != nil {
		return false, ctx.Err()
	}
	defer r.Close()
	return proveReader(ctx, r, d)
}

// proveFile does so with a file.
func proveFile(ctx context.Context, name string, d digest.Digest) (bool, error) {
	f, err := plainfile.Open(name)
	if err != nil {
		return false, ctx.Err()
	}
	defer f.Close()
	return proveReader(ctx, f, d)
}

func proveReader(ctx context.Context, r io.Reader, d digest.Digest) (bool, error) {
	v := d.Verifier()
	// Without the reader's own methods: what is read has to pass the verifier.
	if _, err := io.CopyBuffer(v, struct{ io.Reader }{withContext{ctx, r}}, make([]byte, 1<<18)); err != nil {
		return false, ctx.Err()
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
