package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
)

// tree makes the layouts of the plan directories of the bundle's. Blobs come first, each
// in its place by a rename, and indexes when all are there.
func (r *run) tree(ctx context.Context) error {
	layouts := mergedLayouts(r.plan)
	if err := r.placeBlobs(ctx, layouts); err != nil {
		return err
	}
	// All of them at once, before the first index names one.
	if err := syncTree(r.Dir); err != nil {
		return err
	}
	for _, l := range layouts {
		index, err := indexJSON(l.Images)
		if err != nil {
			return err
		}
		dir := filepath.Join(r.Dir, filepath.FromSlash(l.Path))
		if err := replaceFile(filepath.Join(dir, specs.ImageLayoutFile), []byte(layoutMark)); err != nil {
			return err
		}
		if err := replaceFile(filepath.Join(dir, specs.ImageIndexFile), index); err != nil {
			return err
		}
		r.written = append(r.written, l.Path)
		r.work.reached("placed")
	}
	return r.look(ctx, []string{r.Dir})
}

// mergedLayouts are the layouts of a plan, one a path: archives may share a path.
func mergedLayouts(plan *Plan) (all []*Layout) {
	byPath := map[string]*Layout{}
	for _, a := range plan.Archives {
		for _, l := range a.Layouts {
			m := byPath[l.Path]
			if m == nil {
				m = &Layout{Path: l.Path, Repository: l.Repository}
				byPath[l.Path] = m
				all = append(all, m)
			}
			m.Images = append(m.Images, l.Images...)
			m.blobs = append(m.blobs, l.blobs...)
		}
	}
	for _, m := range all {
		slices.SortFunc(m.Images, byReference)
		m.Images = slices.Compact(m.Images)
		slices.SortFunc(m.blobs, func(a, b closure.Descriptor) int { return compareDigests(a.Digest, b.Digest) })
		m.blobs = slices.CompactFunc(m.blobs, func(a, b closure.Descriptor) bool { return a.Digest == b.Digest })
	}
	return all
}

func compareDigests(a, b digest.Digest) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// placeBlobs fetches what the layouts lack.
func (r *run) placeBlobs(ctx context.Context, layouts []*Layout) error {
	_, needs := needsOf([]*Archive{{Layouts: layouts}})
	places := map[digest.Digest][]string{}
	var total int64
	for _, l := range layouts {
		if err := os.MkdirAll(filepath.Join(r.Dir, filepath.FromSlash(l.Path), specs.ImageBlobsDir), 0o755); err != nil {
			return err
		}
		for _, b := range l.blobs {
			places[b.Digest] = append(places[b.Digest], filepath.Join(r.Dir, filepath.FromSlash(path.Join(l.Path, blobPath(b.Digest)))))
		}
	}
	for _, n := range needs {
		total += n.Size
	}
	r.watch.Phase("fetching", total)
	c := &carrier{run: r, fetcher: fetcher{r.Registry, r.work, r.watch}}
	group, hard := errgroup.WithContext(ctx)
	group.SetLimit(r.Jobs)
	for _, n := range needs {
		group.Go(func() error {
			if err := hard.Err(); err != nil {
				return err
			}
			return c.gapOr(n, c.placeAll(ctx, hard, n, places[n.Digest]))
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return incomplete(c.gaps)
}

// blobPath is the path of a blob below its layout.
func blobPath(d digest.Digest) string {
	return path.Join(specs.ImageBlobsDir, d.Algorithm().String(), d.Encoded())
}

// placeAll puts a blob where it is needed and is not: as links of one file, if the
// file system has them.
func (c *carrier) placeAll(ctx, hard context.Context, n *need, places []string) error {
	have := ""
	for _, p := range places {
		if info, err := os.Stat(p); err == nil && info.Size() == n.Size {
			have = p
		}
	}
	if have == "" {
		if err := c.find(ctx, hard, n); err != nil {
			return err
		}
		if n.where != nil { // in an archive that lies there
			if good, err := c.fetcher.copy(ctx, n.where, n.Descriptor); err != nil || !good {
				return errors.Join(err, fmt.Errorf("%s: it changed while it was read", n.where))
			}
		}
		have = c.work.blob(n.Digest)
	} else {
		c.watch.Add(n.Size)
	}
	for _, p := range places {
		if err := place(have, p, n.Size); err != nil {
			return err
		}
	}
	c.work.drop(n.Digest)
	return nil
}

// place makes to the same file as from, or a copy of it where there are no links.
func place(from, to string, size int64) error {
	if info, err := os.Stat(to); err == nil && info.Size() == size {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if err := os.Remove(to); err != nil && !errors.Is(err, fs.ErrNotExist) { // of another size
		return err
	}
	if os.Link(from, to) == nil {
		return nil
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	temp, err := os.CreateTemp(filepath.Dir(to), ".blob-*")
	if err != nil {
		return err
	}
	if _, err := io.Copy(temp, in); err != nil {
		return joinClose(err, temp)
	}
	return publishFile(temp, to)
}

// replaceFile writes a file anew, whole or not at all.
func replaceFile(name string, data []byte) error {
	if old, err := os.ReadFile(name); err == nil && string(old) == string(data) {
		return nil
	}
	temp, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	if _, err := temp.Write(data); err != nil {
		return joinClose(err, temp)
	}
	return publishFile(temp, name)
}

// publishFile gives a temporary file its name, when it is on disk.
func publishFile(temp *os.File, name string) error {
	if err := errors.Join(temp.Chmod(0o644), temp.Sync()); err != nil {
		return joinClose(err, temp)
	}
	if err := temp.Close(); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), name); err != nil {
		return err
	}
	return syncDir(filepath.Dir(name))
}
