package pull

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// stageInventory stages the inventory of the directory as it will be after the publication, and the
// inventory's signature. It skips files that do not change.
func (r *run) stageInventory(ctx context.Context) error {
	r.watch.Phase("listing", 0)
	l := &lister{run: r}
	if err := l.list(ctx); err != nil {
		return err
	}
	listed, err := l.Build(r.options.Program)
	if err != nil {
		return err
	}
	data, signature, err := r.encode(listed)
	if err != nil {
		return err
	}
	changed, err := r.stageFile(inventory.Name, data)
	if err != nil {
		return err
	}
	if signature != nil {
		_, err := r.stageFile(inventory.SignatureName, signature)
		return err
	}
	// Remove the old inventory's signature. With it, the new inventory would look altered.
	_, err = os.Lstat(filepath.Join(r.options.Dir, inventory.SignatureName))
	if changed && (err == nil || r.work.publisher.IsBroken()) {
		r.changes.Remove = append(r.changes.Remove, inventory.SignatureName)
	}
	return nil
}

func (r *run) encode(listed *inventory.Inventory) (data, signature []byte, err error) {
	if r.options.SignKey != nil {
		return r.options.SignKey.EncodeSigned(listed)
	}
	data, err = listed.Encode()
	if old, readErr := plainfile.Read(filepath.Join(r.options.Dir, inventory.Name), inventory.MaxSize); err == nil && readErr == nil {
		// If the old inventory differs only in the key of its signature, keep it with its
		// signature.
		if have, parseErr := inventory.Parse(old); parseErr == nil {
			listed.Key = have.Key
			if again, encodeErr := listed.Encode(); encodeErr == nil && string(again) == string(old) {
				return old, nil, nil
			}
		}
	}
	return data, nil, err
}

// lister lists everything that the bundle's directory will contain: content that this pull writes
// or keeps, and content of other pulls.
type lister struct {
	inventory.Builder
	run *run
}

// list lists the archives and then the tree. If a tag is listed twice, the last entry counts.
func (l *lister) list(ctx context.Context) error {
	found, err := volume.FindFilesOnDisk(l.run.options.Dir)
	if err != nil {
		return err
	}
	add := map[string]func() error{} // functions that add archives, by name of the archive
	for _, set := range found.Sets {
		add[set.Name] = func() error { return l.addOther(ctx, set) }
	}
	if !l.run.options.Tree {
		for _, a := range l.run.plan.Archives {
			add[a.Name] = func() error { return l.addArchive(ctx, a) }
		}
	}
	for _, name := range slices.SortedFunc(maps.Keys(add), layoutstore.CompareArchives) {
		if err := add[name](); err != nil {
			return err
		}
	}
	if err := l.addOtherTree(ctx); err != nil {
		return err
	}
	if l.run.options.Tree {
		if err := l.addTree(); err != nil {
			return err
		}
	}
	names := []string{bundle.ReleasesFile}
	for _, f := range l.run.plan.Files {
		if f.Name != bundle.ReleasesFile {
			names = append(names, f.Name)
		}
	}
	return l.addFiles(ctx, names...)
}

func (l *lister) addArchive(ctx context.Context, a *bundle.Archive) error {
	for _, layout := range a.Layouts {
		l.addLayout(layout)
	}
	for _, f := range l.run.files[a.Name] {
		l.AddFile(f)
		if err := l.addFiles(ctx, bundle.SumName(f.Name)); err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) addLayout(layout *bundle.Layout) {
	l.AddRepository(layout.Path)
	for _, i := range layout.SortedImages() {
		m := inventory.Blob{Digest: i.Digest, Size: i.Size}
		if i.Tag == "" {
			l.AddUntagged(layout.Path, m)
		} else {
			l.AddTag(layout.Path, i.Tag, m)
		}
	}
	for _, b := range layout.Blobs {
		l.AddBlob(inventory.Blob{Digest: b.Digest, Size: b.Size})
	}
}

// addFiles adds those of the named files that the published bundle will have. Some of them may
// still be in staging.
func (l *lister) addFiles(ctx context.Context, names ...string) error {
	for _, name := range names {
		dir := l.run.options.Dir
		if slices.Contains(l.run.changes.Place, name) {
			dir = l.run.work.publisher.Staged()
		} else if slices.Contains(l.run.changes.Remove, name) {
			continue
		}
		f, ok, err := bundle.ListFile(ctx, filepath.Join(dir, filepath.FromSlash(name)), name, true)
		if err != nil {
			return err
		}
		if ok {
			l.AddFile(f)
		}
	}
	return nil
}

// addOther adds an archive of another pull. It skips an archive that has problems, because such an
// archive is not part of the bundle.
func (l *lister) addOther(ctx context.Context, set volume.Set) error {
	files := set.Files()
	if len(files) == 0 {
		return nil
	}
	s, problems, err := l.open(ctx, layoutstore.Options{Sources: []string{files[0].Path}})
	if s == nil || len(problems) > 0 || err != nil {
		return err
	}
	if err := s.Inventory(ctx, &l.Builder, s.Paths()); err != nil {
		return err
	}
	for _, f := range files {
		name := filepath.Base(f.Path)
		listed, _, err := bundle.ListFile(ctx, f.Path, name, true)
		if err != nil {
			return err
		}
		l.AddFile(listed)
		if err := l.addFiles(ctx, bundle.SumName(name)); err != nil {
			return err
		}
	}
	return nil
}

// open opens content of other pulls, and returns its problems. If the content cannot be read, s is
// nil.
func (l *lister) open(ctx context.Context, o layoutstore.Options) (s *layoutstore.Snapshot, problems []layoutstore.Problem, err error) {
	o.Indexes, o.IgnoreInventory = []string{}, true
	tree, err := layoutstore.Open(ctx, o)
	if err != nil {
		return nil, nil, ctx.Err()
	}
	s = tree.Snapshot()
	if err := s.Check(ctx, l.run.options.Jobs); err != nil {
		return nil, nil, ctx.Err()
	}
	all, err := s.Problems(ctx)
	if err != nil {
		return nil, nil, err
	}
	problems = slices.DeleteFunc(all, func(p layoutstore.Problem) bool {
		return !p.IsFailure() || p.IsUnnamedRoot()
	})
	return s, problems, nil
}

func (l *lister) addOtherTree(ctx context.Context) error {
	omit := map[string]bool{}
	if l.run.options.Tree {
		for _, layout := range bundle.MergeLayouts(l.run.plan.Archives) {
			omit[layout.Path] = true
		}
	}
	s, problems, err := l.open(ctx, layoutstore.Options{Sources: []string{l.run.options.Dir}, TreesOnly: true})
	if s == nil || err != nil {
		return err
	}
	for _, p := range problems {
		omit[p.Layout] = true
	}
	paths := slices.DeleteFunc(s.Paths(), func(path string) bool { return omit[path] })
	if err := s.Inventory(ctx, &l.Builder, paths); err != nil {
		return err
	}
	for _, at := range paths {
		if err := l.addFiles(ctx, bundle.LayoutFiles(at)...); err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) addTree() error {
	for _, layout := range bundle.MergeLayouts(l.run.plan.Archives) {
		l.addLayout(layout)
		files, err := layout.Files()
		if err != nil {
			return err
		}
		for _, f := range files {
			l.AddFile(f)
		}
	}
	return nil
}
