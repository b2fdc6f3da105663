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

// savedMove is saved for an imported or refused bundle before its first file is moved or
// removed. A process that is killed then leaves part of the bundle, which looks like another
// bundle. The next process completes the move instead of importing that.
type savedMove struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	To   string `json:"to,omitempty"` // the directory to move to; empty if the files are removed
	// Refused is set for a damaged bundle, which is never removed.
	Refused bool        `json:"refused,omitempty"`
	Files   []movedFile `json:"files"`
}

// movedFile is a file that was read, with its state, or a link.
type movedFile struct {
	Name string `json:"name"` // below the drop directory
	fileid.State
}

// saveMove saves the files to move or remove, each with its present state.
func (d *Drop) saveMove(it *item, s *savedMove, m *mover) error {
	for _, name := range m.files {
		info, err := m.root.Lstat(name)
		if err != nil {
			continue // each file is checked again before it is moved
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

// forgetMove removes the saved move of a bundle whose files were moved as far as possible.
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
		d.log.Warn("cannot write the record of the drop directory", zap.Error(err))
	}
}

// directories returns the directories whose entries change, below the drop directory dir.
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

// finishMoves completes the moves of a killed process. It moves only files that are unchanged
// since that process read them. If a move fails, that bundle waits for the next scan; others do
// not.
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
			d.stuck[key] = fmt.Errorf("it was %s, and its remaining files cannot be moved or removed: %w", r.Leaving.outcome(), err)
			continue
		}
		d.log.Info("moved or removed the remaining files of a bundle that was "+r.Leaving.outcome(), zap.String("bundle", r.Leaving.Name))
		d.forgetMove(key)
	}
}

// outcome returns what happened to the bundle.
func (s *savedMove) outcome() string {
	if s.Refused {
		return "refused"
	}
	return "imported"
}

// finishMove moves or removes the remaining files of a bundle.
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
		if err := s.returnNewFiles(ctx, root, names, d.before); err != nil {
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

// returnNewFiles moves back files that were added to a directory before it was moved.
func (s *savedMove) returnNewFiles(ctx context.Context, root *os.Root, names []string, before func(op, path string) error) error {
	if s.To == "" {
		return nil
	}
	if _, err := root.Lstat(filepath.Join(s.To, s.Name)); err != nil {
		return nil // nothing was moved yet
	}
	m := mover{root: root, opened: s.opened(), files: names, before: before}
	return m.returnNewFiles(ctx, s.Name, s.To)
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

// removeAside removes a file that was already renamed for removal.
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

// asideOf returns the temporary name of a file that is being removed.
func asideOf(name string) string {
	return filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+removing)
}
