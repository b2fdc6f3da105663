package pull

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// tree makes the layouts of the plan directories of the bundle. Blobs come first, each
// put in its place in one step, and indexes when all are there.
func (r *run) tree(ctx context.Context) error {
	layouts := mergedLayouts(r.plan)
	if err := r.placeBlobs(ctx, layouts); err != nil {
		return err
	}
	// All of them at once, before the first index names one.
	if err := syncTree(r.Dir); err != nil {
		return err
	}
	if err := r.work.clearStaged(); err != nil {
		return err
	}
	for _, l := range layouts {
		if err := r.stageIndex(l); err != nil {
			return err
		}
		r.written = append(r.written, l.Path)
		r.work.reached("staged")
	}
	if err := r.besides(); err != nil {
		return err
	}
	if err := r.work.publish(r.publication); err != nil {
		return err
	}
	return r.look(ctx, []string{r.Dir})
}

const indexName = specs.ImageIndexFile

// stageIndex stages the index of a layout where it changes: those of all layouts take
// their place together.
func (r *run) stageIndex(l *Layout) error {
	index, err := indexJSON(l.Images)
	if err != nil {
		return err
	}
	if len(index) > layoutstore.MaxIndex {
		return fmt.Errorf("the index of %s would have %d bytes, more than the %d that are read again: pull less of it", l.Repository, len(index), int64(layoutstore.MaxIndex))
	}
	dir := filepath.Join(r.Dir, filepath.FromSlash(l.Path))
	if err := replaceFile(filepath.Join(dir, specs.ImageLayoutFile), []byte(layoutMark)); err != nil {
		return err
	}
	if old, err := plainfile.Read(filepath.Join(dir, indexName), int64(len(index))); err == nil && string(old) == string(index) {
		return nil
	}
	name := path.Join(l.Path, indexName)
	staged := filepath.Join(r.work.archives(), filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(staged), 0o755); err != nil {
		return err
	}
	r.publication.Place = append(r.publication.Place, name)
	return writeFile(staged, index)
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

// replaceFile writes a file anew, whole or not at all.
func replaceFile(name string, data []byte) error {
	if old, err := plainfile.Read(name, int64(len(data))); err == nil && string(old) == string(data) {
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
