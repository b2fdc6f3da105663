package importer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.uber.org/zap"
)

// leaving is what is recorded of an imported bundle before the first of its files goes:
// a process that is killed then leaves a part of a bundle, which is another bundle. The
// next process does not import that, but ends what was begun.
type leaving struct {
	Kind  string        `json:"kind"`
	Name  string        `json:"name"`
	To    string        `json:"to,omitempty"` // the directory that they move to; empty where they are removed
	Files []leavingFile `json:"files"`
}

// leavingFile is a file that was read, in the state that it had, or a link.
type leavingFile struct {
	Name     string `json:"name"` // below the drop directory
	Device   uint64 `json:"device,omitempty"`
	Inode    uint64 `json:"inode,omitempty"`
	Size     int64  `json:"size,omitempty"`
	Modified int64  `json:"modified,omitempty"`
}

// leaves records what is about to be moved to a directory, or removed.
func (d *Drop) leaves(it *item, o *outgoing, to string) error {
	l := &leaving{Kind: it.kind, Name: it.name, To: to}
	for _, name := range o.files {
		info, err := o.root.Lstat(name)
		if err != nil {
			continue // each looks once more
		}
		f := leavingFile{Name: name}
		if id, ok := identify(info); ok && !isLink(info) {
			state := stateOf(info)
			f.Device, f.Inode, f.Size, f.Modified = id.device, id.inode, state.size, state.modified
		}
		l.Files = append(l.Files, f)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.record[it.key()] = recorded{Identity: it.identity, Status: it.status, Leaving: l}
	return d.record.write(d.importer.options.Store)
}

// left forgets a bundle whose files have gone, as far as they could.
func (d *Drop) left(key string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.record[key].Leaving == nil {
		return
	}
	delete(d.record, key)
	if err := d.record.write(d.importer.options.Store); err != nil {
		d.log.Warn("the record of the drop directory cannot be written", zap.Error(err))
	}
}

// resume ends what a process that was killed had begun to take out. Only files go that
// are still as that process read them. Where that fails, what is left waits and is tried
// at the next look; other bundles do not.
func (d *Drop) resume(ctx context.Context) {
	d.stuck = map[string]error{}
	for key, r := range d.record {
		if r.Leaving == nil {
			continue
		}
		err := d.Guard()
		if err == nil {
			err = d.end(ctx, r.Leaving)
		}
		if err != nil {
			d.stuck[key] = fmt.Errorf("it was imported, and the rest of it cannot be taken out: %w", err)
			continue
		}
		d.log.Info("the rest of an imported bundle has been taken out", zap.String("bundle", r.Leaving.Name))
		d.left(key)
	}
}

func (d *Drop) end(ctx context.Context, l *leaving) error {
	root, err := os.OpenRoot(d.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	o := outgoing{root: root, opened: l.opened(), before: d.before}
	var names []string
	for _, f := range l.Files {
		names = append(names, f.Name)
		if err := o.removeAside(f.Name); err != nil {
			return err
		}
		if _, err := root.Lstat(f.Name); err == nil {
			o.sort(f.Name)
		}
	}
	if l.Kind == kindDirectory {
		rest := outgoing{root: root, opened: o.opened}
		if _, err := root.Lstat(l.Name); err == nil {
			if err := rest.walk(ctx, l.Name); err != nil {
				return err
			}
		}
		o.dirs = rest.dirs
	}
	switch {
	case d.Remove:
		return o.remove()
	case len(o.files) == 0:
		return nil
	case l.To == "":
		if l.To, err = freeDir(root, "done", append(names, l.Name)); err != nil {
			return err
		}
	}
	return o.move(l.To)
}

func (l *leaving) opened() *Opened {
	o := &Opened{files: map[fileID]fileState{}}
	for _, f := range l.Files {
		if f.Inode != 0 {
			o.files[fileID{f.Device, f.Inode}] = fileState{f.Size, f.Modified}
		}
	}
	return o
}

// removeAside removes a file that had its name for being removed already.
func (o *outgoing) removeAside(name string) error {
	aside := asideOf(name)
	info, err := o.root.Lstat(aside)
	if err != nil || !isLink(info) && !o.opened.Has(info) {
		return nil
	}
	if err := o.root.Remove(aside); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// asideOf is the name that a file has for the moment in which it is removed.
func asideOf(name string) string {
	return filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+removing)
}
