package drop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore/fileid"
)

// savedMove is saved for an imported or refused bundle before its first file is moved or removed. If the
// process is killed then, the remaining files look like another bundle. The next process completes the
// move instead of importing them.
type savedMove struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	To   string `json:"to,omitempty"` // the directory to move to; empty if the files are removed
	// Refused is set for a damaged bundle, which is never removed.
	Refused bool                `json:"refused,omitempty"`
	Files   []publish.MovedFile `json:"moved"` // with names relative to the drop directory
}

// UnmarshalJSON implements json.Unmarshaler. It also reads the format of older versions: the field "files",
// with plain file names, and links without a state.
func (s *savedMove) UnmarshalJSON(data []byte) error {
	type plain savedMove
	saved := struct {
		*plain
		Files []struct {
			Name string `json:"name"`
			fileid.State
		} `json:"files"`
	}{plain: (*plain)(s)}
	if err := json.Unmarshal(data, &saved); err != nil {
		return err
	}
	for _, f := range saved.Files {
		s.Files = append(s.Files, publish.MovedFile{Name: publish.FileName(f.Name), State: f.State, Link: f.Inode == 0})
	}
	return nil
}

// saveMove saves the files to move or remove, each with its present state.
func (d *Drop) saveMove(it *item, s *savedMove, m *mover) error {
	for _, name := range m.files {
		info, err := m.root.Lstat(name)
		if err != nil {
			continue // each file is checked again before it is moved
		}
		if m.opened != nil && !publish.IsLink(info) && !m.opened.Has(info) {
			continue // somebody has replaced it
		}
		f, _ := publish.NewMovedFile(name, info) // a file without an identity is not moved later
		s.Files = append(s.Files, f)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.saved[it.key()] = savedBundle{Identity: it.identity, Status: it.status, Move: s}
	return d.saveState()
}

// forgetMove removes the saved move of a bundle after its files were moved as far as possible.
func (d *Drop) forgetMove(key string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.saved[key].Move
	if s == nil {
		return
	}
	publish.SyncNames(s.directories(d.options.Dir))
	delete(d.saved, key)
	if err := d.saveState(); err != nil {
		d.log.Warn("cannot write the record of the drop directory", zap.Error(err))
	}
}

// directories returns the directories whose entries the move changes, with the parents of directories
// that it may have created. dir is the drop directory.
func (s *savedMove) directories(dir string) map[string]bool {
	dirs := map[string]bool{dir: true}
	add := func(name string) {
		for at := filepath.Dir(filepath.Clean(name)); at != filepath.Dir(at); at = filepath.Dir(at) {
			dirs[filepath.Join(dir, at)] = true
		}
	}
	for _, name := range append(s.names(), s.Name) {
		add(name)
		if s.To != "" {
			add(filepath.Join(s.To, name))
		}
	}
	return dirs
}

// finishMoves completes the moves of a killed process. It moves only files that are unchanged since that
// process read them. If a move fails, only its bundle waits for the next scan.
func (d *Drop) finishMoves(ctx context.Context) {
	d.stuck = map[string]error{}
	for key, r := range d.saved {
		if r.Move == nil {
			continue
		}
		err := d.options.Guard()
		if err == nil {
			err = d.finishMove(ctx, r.Move)
		}
		if err != nil {
			d.stuck[key] = fmt.Errorf("it was %s, and its remaining files cannot be moved or removed: %w", r.Move.outcome(), err)
			continue
		}
		d.log.Info("moved or removed the remaining files of a bundle that was "+r.Move.outcome(), zap.String("bundle", r.Move.Name))
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
	names := s.names()
	for _, name := range names {
		if err := m.removeAside(name); err != nil {
			return err
		}
		if _, err := root.Lstat(name); err == nil {
			m.classify(name)
		}
	}
	if s.Kind == kindDirectory {
		if err := m.finishDirectory(ctx, s, names); err != nil {
			return err
		}
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

// finishDirectory moves back files that were added to a directory before it was moved, and lists the
// directories that remain at its old place. names are the files that were read.
func (m *mover) finishDirectory(ctx context.Context, s *savedMove, names []string) error {
	if _, err := m.root.Lstat(filepath.Join(s.To, s.Name)); s.To != "" && err == nil { // otherwise nothing was moved yet
		moved := mover{root: m.root, opened: m.opened, files: names, before: m.before}
		if err := moved.returnNewFiles(ctx, s.Name, s.To); err != nil {
			return err
		}
	}
	if _, err := m.root.Lstat(s.Name); err != nil {
		return nil
	}
	rest := mover{root: m.root, opened: m.opened}
	err := rest.walk(ctx, s.Name)
	m.dirs = rest.dirs
	return err
}

// names returns the names of the files.
func (s *savedMove) names() []string {
	names := make([]string, len(s.Files))
	for i, f := range s.Files {
		names[i] = string(f.Name)
	}
	return names
}

// opened returns the files that were read, without links.
func (s *savedMove) opened() *fileid.Set {
	m := &fileid.Set{}
	for _, f := range s.Files {
		if f.Inode != 0 && !f.Link {
			m.AddState(f.State)
		}
	}
	return m
}

// removeAside removes a file that a killed process has already renamed for removal.
func (m *mover) removeAside(name string) error {
	aside := asideOf(name)
	info, err := m.root.Lstat(aside)
	if err != nil || !publish.IsLink(info) && !m.opened.Has(info) {
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
