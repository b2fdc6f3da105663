package pull

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// stageInventory stages the inventory of the directory as it will be, and its signature, if they
// change. It is published together with what it lists.
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
	changed, err := r.stageBeside(inventory.Name, data)
	if err != nil {
		return err
	}
	if signature != nil {
		_, err := r.stageBeside(inventory.SignatureName, signature)
		return err
	}
	// The signature of another inventory would only say that this one was altered.
	_, err = os.Lstat(filepath.Join(r.options.Dir, inventory.SignatureName))
	if changed && (err == nil || r.work.publisher.IsBroken()) {
		r.changes.Remove = append(r.changes.Remove, inventory.SignatureName)
	}
	return nil
}

// encode encodes the inventory, and signs it if there is a key.
func (r *run) encode(listed *inventory.Inventory) (data, signature []byte, err error) {
	if r.options.SignKey != nil {
		return r.options.SignKey.EncodeSigned(listed)
	}
	data, err = listed.Encode()
	if old, readErr := plainfile.Read(filepath.Join(r.options.Dir, inventory.Name), inventory.MaxSize); err == nil && readErr == nil {
		// An inventory that only names the key of its signature is the same, and stays signed.
		if have, parseErr := inventory.Parse(old); parseErr == nil {
			listed.Key = have.Key
			if again, encodeErr := listed.Encode(); encodeErr == nil && string(again) == string(old) {
				return old, nil, nil
			}
		}
	}
	return data, nil, err
}

// stageBeside stages a file beside the archives if it changes.
func (r *run) stageBeside(name string, data []byte) (changed bool, err error) {
	staged, err := r.work.publisher.StageIfNew(name, data)
	if staged {
		r.changes.Place = append(r.changes.Place, name)
	}
	return staged, err
}

// lister lists everything that the bundle's directory will have: what this pull writes and
// keeps, and what another pull has left there.
type lister struct {
	inventory.Builder
	run *run
}

// list lists volumes in the order in which their tags count: archives, then the tree.
func (l *lister) list(ctx context.Context) error {
	own := map[string]*bundle.Archive{}
	var names []string
	if !l.run.options.Tree {
		for _, a := range l.run.plan.Archives {
			own[a.Name] = a
			names = append(names, a.Name)
		}
	}
	others, err := volume.FindFilesOnDisk(l.run.options.Dir)
	if err != nil {
		return err
	}
	sets := map[string]volume.Set{}
	for _, set := range others.Sets {
		if own[set.Name] == nil {
			sets[set.Name] = set
			names = append(names, set.Name)
		}
	}
	slices.SortFunc(names, layoutstore.CompareArchives)
	for _, name := range names {
		if a := own[name]; a != nil {
			err = l.addArchive(ctx, a)
		} else {
			err = l.addOther(ctx, sets[name])
		}
		if err != nil {
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
	return l.addFiles(ctx)
}

// addArchive adds an archive of this pull.
func (l *lister) addArchive(ctx context.Context, a *bundle.Archive) error {
	for _, layout := range a.Layouts {
		l.addLayout(layout)
	}
	for _, f := range l.run.files[a.Name] {
		l.AddFile(f)
		if err := l.addBeside(ctx, f.Name); err != nil {
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

// addBeside adds the checksum file of a file, which may be staged.
func (l *lister) addBeside(ctx context.Context, name string) error {
	return l.addFileAt(ctx, bundle.SumName(name))
}

// addFileAt adds a file of the published bundle, which may still be staged. It skips a file that
// the publication removes.
func (l *lister) addFileAt(ctx context.Context, name string) error {
	dir := l.run.options.Dir
	if slices.Contains(l.run.changes.Place, name) {
		dir = l.run.work.publisher.Staged()
	} else if slices.Contains(l.run.changes.Remove, name) {
		return nil
	}
	f, ok, err := bundle.ListFile(ctx, filepath.Join(dir, filepath.FromSlash(name)), name, true)
	if ok {
		l.AddFile(f)
	}
	return err
}

// addOther adds an archive that another pull has left, unless it has problems: it is not part of
// the bundle then.
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
		if err := l.addBeside(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// open opens what another pull has left, and returns its problems. s is nil if it cannot be read.
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
		nameless := p.Kind == layoutstore.IllegalName && p.Repository == "" // a root layout without a root
		return nameless || !p.IsFailure()
	})
	return s, problems, nil
}

// addOtherTree adds the layouts of the directory's tree that this pull does not write.
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
		for _, name := range bundle.LayoutFiles(at) {
			if err := l.addFileAt(ctx, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// addTree adds the layouts of this pull in a tree.
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

// addFiles adds the files beside the archives.
func (l *lister) addFiles(ctx context.Context) error {
	names := []string{bundle.ReleasesFile}
	for _, f := range l.run.plan.Files {
		if f.Name != bundle.ReleasesFile {
			names = append(names, f.Name)
		}
	}
	for _, name := range names {
		if err := l.addFileAt(ctx, name); err != nil {
			return err
		}
	}
	return nil
}
