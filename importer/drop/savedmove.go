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

// savedMove records which files of an imported or refused bundle are to be moved or removed. If the
// process is killed meanwhile, the next process completes the move. Otherwise, the remaining files
// would look like another bundle and be imported.
type savedMove struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	To   string `json:"to,omitempty"` // directory to move the files to; empty if they are removed

	// Refused is set for a damaged bundle, which is never removed.
	Refused bool                `json:"refused,omitempty"`
	Files   []publish.MovedFile `json:"moved"` // paths below the drop directory
}

// UnmarshalJSON implements json.Unmarshaler. It also reads records of older versions, which have
// plain file names in the field "files", and no state for links.
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

// saveMove records the files to move or remove, each with its current state.
func (d *Drop) saveMove(it *item, s *savedMove, m *mover) error {
	for _, name := range m.files {
		info, err := m.root.Lstat(name)
		if err != nil {
			continue // the move will check each file again
		}
		if m.opened != nil && !publish.IsLink(info) && !m.opened.Has(info) {
			continue // somebody has replaced this file
		}
		f, _ := publish.NewMovedFile(name, info) // on error, f has no identity, and the next process does not move the file
		s.Files = append(s.Files, f)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.saved[it.key()] = savedBundle{Identity: it.identity, Status: it.status, Move: s}
	return d.saveState()
}

// forgetMove removes the record of a move, after the files were moved or removed as far as possible.
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

// directories returns all directories whose entries the move changes, and their parents, because
// the move may have created some of them. dir is the drop directory.
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

// finishMoves completes the moves of a killed process. It moves only files that have not changed since that
// process read them. If a move fails, the remaining files of that bundle wait for the next scan.
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

// outcome says whether the bundle was refused or imported.
func (s *savedMove) outcome() string {
	if s.Refused {
		return "refused"
	}
	return "imported"
}

// finishMove completes one recorded move.
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

// finishDirectory moves back the files that the import of a moved directory has not read. It also
// lists the directories that remain at the old path. names are the files that were read.
func (m *mover) finishDirectory(ctx context.Context, s *savedMove, names []string) error {
	// If the directory does not exist in done/ or failed/, nothing was moved yet.
	if _, err := m.root.Lstat(filepath.Join(s.To, s.Name)); s.To != "" && err == nil {
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

// names returns the paths of the recorded files, below the drop directory.
func (s *savedMove) names() []string {
	names := make([]string, len(s.Files))
	for i, f := range s.Files {
		names[i] = string(f.Name)
	}
	return names
}

// opened returns the identities of the recorded files, except links.
func (s *savedMove) opened() *fileid.Set {
	m := &fileid.Set{}
	for _, f := range s.Files {
		if f.Inode != 0 && !f.Link {
			m.AddState(f.State)
		}
	}
	return m
}

// removeAside removes a file that a killed process has renamed, but not removed.
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
