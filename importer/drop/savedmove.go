package drop

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore/fileid"
)

// savedMove is what is saved of an imported or refused bundle before the first of its files
// is moved or removed: a process that is killed then leaves a part of a bundle, which is
// another bundle. The next process does not import that, but does the rest.
type savedMove struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	To   string `json:"to,omitempty"` // the directory that they move to; empty where they are removed
	// Refused is set where the bundle is bad: then it is never removed.
	Refused bool        `json:"refused,omitempty"`
	Files   []movedFile `json:"files"`
}

// movedFile is a file that was read, in the state that it had, or a link.
type movedFile struct {
	Name string `json:"name"` // below the drop directory
	fileid.State
}

// saveMove saves that the files go, each in the state that it has now.
func (d *Drop) saveMove(it *item, s *savedMove, m *mover) error {
	for _, name := range m.files {
		info, err := m.root.Lstat(name)
		if err != nil {
			continue // each looks once more
		}
		if m.opened != nil && !isLink(info) && !m.opened.Has(info) {
			continue // it was replaced
		}
		f := movedFile{Name: name}
		if state, ok := fileid.Of(info); ok && !isLink(info) {
			f.State = state
		}
		s.Files = append(s.Files, f)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.saved[it.key()] = savedBundle{Identity: it.identity, Status: it.status, Leaving: s}
	return d.saveState()
}

// forgetMove forgets a bundle whose files have gone, as far as they could.
func (d *Drop) forgetMove(key string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.saved[key].Leaving
	if s == nil {
		return
	}
	publish.SyncNames(s.directories(d.options.Dir))
	delete(d.saved, key)
	if err := d.saveState(); err != nil {
		d.log.Warn("the record of the drop directory cannot be written", zap.Error(err))
	}
}

// directories are thoseectories whose entries change, below the drop directory dir.
func (s *savedMove) directories(dir string) map[string]bool {
	places := map[string]bool{dir: true}
	for _, name := range append([]movedFile{{Name: s.Name}}, s.Files...) {
		places[filepath.Dir(filepath.Join(dir, name.Name))] = true
		if s.To != "" {
			places[filepath.Dir(filepath.Join(dir, s.To, name.Name))] = true
		}
	}
	return places
}

// finishMoves does the rest of what a process that was killed had begun to take out. Only files go that
// are still as that process read them. Where that fails, what is left waits and is tried
// at the next look; other bundles do not.
func (d *Drop) finishMoves(ctx context.Context) {
	d.stuck = map[string]error{}
	for key, r := range d.saved {
		if r.Leaving == nil {
			continue
		}
		err := d.options.Guard()
		if err == nil {
			err = d.finishMove(ctx, r.Leaving)
		}
		if err != nil {
			d.stuck[key] = fmt.Errorf("it was %s, and the rest of it cannot be taken out: %w", r.Leaving.outcome(), err)
			continue
		}
		d.log.Info("the rest of a bundle that was "+r.Leaving.outcome()+" has been taken out", zap.String("bundle", r.Leaving.Name))
		d.forgetMove(key)
	}
}

// outcome is what happened to the bundle, so that it goes.
func (s *savedMove) outcome() string {
	if s.Refused {
		return "refused"
	}
	return "imported"
}

// finishMove takes out what is left of a bundle.
func (d *Drop) finishMove(ctx context.Context, s *savedMove) error {
	root, err := os.OpenRoot(d.options.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	m := mover{root: root, opened: s.opened(), before: d.before}
	var names []string
	for _, f := range s.Files {
		names = append(names, f.Name)
		if err := m.removeAside(f.Name); err != nil {
			return err
		}
		if _, err := root.Lstat(f.Name); err == nil {
			m.classify(f.Name)
		}
	}
	if s.Kind == kindDirectory {
		if err := s.giveBack(ctx, root, names, d.before); err != nil {
			return err
		}
		rest := mover{root: root, opened: m.opened}
		if _, err := root.Lstat(s.Name); err == nil {
			if err := rest.walk(ctx, s.Name); err != nil {
				return err
			}
		}
		m.dirs = rest.dirs
	}
	switch {
	case d.options.Remove && !s.Refused:
		return m.remove()
	case len(m.files) == 0:
		return nil
	case s.To == "":
		if s.To, err = freeDir(root, "done", append(names, s.Name)); err != nil {
			return err
		}
	}
	return m.move(s.To)
}

// giveBack moves back what came into a directory before it was moved.
func (s *savedMove) giveBack(ctx context.Context, root *os.Root, names []string, before func(op, path string) error) error {
	if s.To == "" {
		return nil
	}
	if _, err := root.Lstat(filepath.Join(s.To, s.Name)); err != nil {
		return nil // nothing of it has moved yet
	}
	m := mover{root: root, opened: s.opened(), files: names, before: before}
	return m.giveBack(ctx, s.Name, s.To)
}

func (s *savedMove) opened() *fileid.Set {
	m := &fileid.Set{}
	for _, f := range s.Files {
		if f.Inode != 0 {
			m.AddState(f.State)
		}
	}
	return m
}

// removeAside removes a file that had its name for being removed already.
func (m *mover) removeAside(name string) error {
	aside := asideOf(name)
	info, err := m.root.Lstat(aside)
	if err != nil || !isLink(info) && !m.opened.Has(info) {
		return nil
	}
	if err := m.root.Remove(aside); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// asideOf is the name that a file has for the moment in which it is removed.
func asideOf(name string) string {
	return filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+removing)
}
