package bundle

import (
	"context"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// Reusable is a set of archives and trees whose blobs need not be fetched again. They come from an
// earlier bundle, or from an interrupted pull of this bundle.
type Reusable struct{ volumes []reusableVolume }

type reusableVolume struct {
	dir     string
	archive string // name of the archive; empty for a tree
	vol     volume.Volume
	list    []volume.Layout
}

// OpenReusable opens the archives and trees in the directories: first all archives, then all trees.
// It skips any that it cannot read. Its only error is the context's.
func OpenReusable(ctx context.Context, dirs ...string) (*Reusable, error) {
	r := &Reusable{}
	for _, dir := range dirs {
		found, err := volume.FindFilesOnDisk(dir)
		if err != nil {
			continue
		}
		for _, set := range found.Sets {
			if vol, err := volume.OpenArchive(ctx, set, ""); err == nil {
				r.add(ctx, dir, set.Name, vol)
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
		}
	}
	for _, dir := range dirs {
		if tree, err := volume.OpenDir(dir); err == nil {
			r.add(ctx, dir, "", tree)
		}
	}
	return r, ctx.Err()
}

// add adds a volume if its layouts can be read and it has at least one.
func (r *Reusable) add(ctx context.Context, dir, archive string, vol volume.Volume) {
	if listing, err := vol.Layouts(ctx); err == nil && len(listing.Layouts) > 0 {
		r.volumes = append(r.volumes, reusableVolume{dir, archive, vol, listing.Layouts})
	}
}

// LayoutsOf returns the paths of the layouts in an archive in dir. It returns none if the archive is missing or
// cannot be read.
func (r *Reusable) LayoutsOf(dir, archive string) (paths []string) {
	if r == nil {
		return nil
	}
	for _, v := range r.volumes {
		if v.dir != dir || v.archive != archive {
			continue
		}
		for _, l := range v.list {
			paths = append(paths, l.Path)
		}
	}
	return paths
}

// Find returns where a blob is stored, and the directory of that archive or tree. Both are empty if the
// blob is not found. It first searches the layout with the path in the parameter layout. A size of -1
// matches any size. The bytes are not verified. A nil Reusable has no blobs. The only possible error is
// context.Cause(ctx).
func (r *Reusable) Find(ctx context.Context, layout string, d digest.Digest, size int64) (where extent.List, dir string, err error) {
	if r == nil {
		return nil, "", nil
	}
	for _, v := range r.volumes {
		if where, ok := v.locate(ctx, layout, d, size); ok {
			return where, v.dir, nil
		}
	}
	for _, v := range r.volumes {
		for _, l := range v.list {
			if where, ok := v.locate(ctx, l.Path, d, size); ok {
				return where, v.dir, nil
			}
		}
	}
	if ctx.Err() != nil {
		return nil, "", context.Cause(ctx)
	}
	return nil, "", nil
}

func (v *reusableVolume) locate(ctx context.Context, layout string, d digest.Digest, size int64) (extent.List, bool) {
	where, err := v.vol.Locate(ctx, layout, d)
	return where, err == nil && (size < 0 || where.Size() == size)
}
