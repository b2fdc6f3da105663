package pull

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// publication is how a bundle directory gets its new files: those that are staged take
// their place, and those that they replace under other names are removed.
type publication struct {
	Place  []string // slash-separated paths below the directory
	Remove []string
}

func (p publication) isEmpty() bool { return len(p.Place)+len(p.Remove) == 0 }

func (w *work) journal() string { return filepath.Join(w.dir, volume.PublicationFile) }

// publish makes the staged files the bundle's. From the rename of the journal on, readers
// see all of them (see volume.Publication), and the next pull finishes what this one
// could not. Before it, nothing has happened.
func (w *work) publish(p publication) error {
	if p.isEmpty() && w.broken == nil {
		return nil
	}
	staged, err := w.freeStaged()
	if err != nil {
		return err
	}
	if err := w.writeJournal(p, staged); err != nil {
		return err
	}
	w.reached("publishing")
	if err := os.Rename(w.archives(), filepath.Join(w.dir, staged)); err != nil {
		return err
	}
	w.reached("moved")
	err = syncDir(w.dir)
	if err == nil {
		err = os.Rename(w.newJournal(), w.journal())
	}
	if err != nil {
		return errors.Join(err, os.Rename(filepath.Join(w.dir, staged), w.archives()))
	}
	w.reached("journal")
	if err := syncDir(w.dir); err != nil {
		return fmt.Errorf("the bundle is in place, and the next pull has to clean up: %w", err)
	}
	return w.finishPublication()
}

func (w *work) newJournal() string { return filepath.Join(w.near, "publication.new") }

// freeStaged is a name for the directory of the staged files.
func (w *work) freeStaged() (string, error) {
	for n := 1; ; n++ {
		name := volume.StagedDir(n)
		_, err := os.Lstat(filepath.Join(w.dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			return name, nil
		}
		if err != nil {
			return "", err
		}
	}
}

// writeJournal writes the journal beside its place, on disk with all that it names.
func (w *work) writeJournal(p publication, staged string) error {
	j := volume.Publication{Staged: staged, Remove: p.Remove}
	dirs := map[string]bool{".": true}
	for _, name := range p.Place {
		info, err := os.Stat(filepath.Join(w.archives(), filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		j.Place = append(j.Place, volume.PublishedFileOf(name, info))
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			dirs[dir] = true
		}
	}
	data, err := j.Encode()
	if err != nil {
		return err
	}
	for dir := range dirs {
		if err := syncDir(filepath.Join(w.archives(), filepath.FromSlash(dir))); err != nil {
			return err
		}
	}
	return writeFile(w.newJournal(), data)
}

// finishPublication finishes a publication that has a journal, and removes what an
// interrupted one has left. One that cannot be finished, because its files are missing,
// becomes the work's broken one: it hides the directory from readers until another takes
// its place.
func (w *work) finishPublication() error {
	p, err := volume.ReadPublication(w.dir)
	if err != nil {
		return fmt.Errorf("%s: %w: remove the file %s to take the archives as they are", w.dir, err, volume.PublicationFile)
	}
	if p == nil {
		return w.restoreStaged()
	}
	if err := volume.CheckPublication(w.dir); err != nil {
		var unfinished *volume.UnfinishedError
		if errors.As(err, &unfinished) {
			w.broken = p
			return nil
		}
		return err
	}
	if err := w.moveStaged(p); err != nil {
		return err
	}
	w.reached("placed all")
	if err := os.Remove(w.journal()); err != nil {
		return err
	}
	w.broken = nil
	w.reached("published")
	if err := syncDir(w.dir); err != nil {
		return err
	}
	return w.removeStaged()
}

// moveStaged moves the new files into their place, and removes those that they replace.
func (w *work) moveStaged(p *volume.Publication) error {
	dirs := map[string]bool{".": true}
	for _, f := range p.Place {
		from, to := filepath.Join(w.dir, p.Staged, filepath.FromSlash(f.Name)), filepath.Join(w.dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		w.reached("placing")
		if err := os.Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) { // moved before
			return err
		}
		dirs[path.Dir(f.Name)] = true
	}
	for _, name := range p.Remove {
		if slices.ContainsFunc(p.Place, func(f volume.PublishedFile) bool { return f.Name == name }) {
			continue
		}
		w.reached("removing")
		if err := os.Remove(filepath.Join(w.dir, filepath.FromSlash(name))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for dir := range dirs {
		if err := syncDir(filepath.Join(w.dir, filepath.FromSlash(dir))); err != nil {
			return err
		}
	}
	return nil
}

// stagedDirs are the directories of staged files that lie in the bundle directory.
func (w *work) stagedDirs() (all []string, err error) {
	entries, err := os.ReadDir(w.dir)
	for _, e := range entries {
		if volume.IsStagedDir(e.Name()) {
			all = append(all, filepath.Join(w.dir, e.Name()))
		}
	}
	return all, err
}

// removeStaged removes what a publication that is finished has left of its staged files.
func (w *work) removeStaged() error {
	all, err := w.stagedDirs()
	for _, dir := range all {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// restoreStaged takes back archives that were staged when the pull was interrupted just
// before it wrote the journal.
func (w *work) restoreStaged() error {
	all, err := w.stagedDirs()
	if err != nil {
		return err
	}
	for _, dir := range all {
		if err := os.Rename(dir, w.archives()); err != nil {
			if err := os.RemoveAll(dir); err != nil { // only what can be fetched again
				return err
			}
		}
	}
	return nil
}

// clearStaged removes archives that a pull of another form has left for the next one.
func (w *work) clearStaged() error {
	if err := os.RemoveAll(w.archives()); err != nil {
		return err
	}
	return os.Mkdir(w.archives(), 0o755)
}

// covers fails where a plan leaves out an archive or a layout of which a broken
// publication has replaced a part: it would stay a mixture of old and new.
func (w *work) covers(plan *Plan) error {
	if w.broken == nil {
		return nil
	}
	planned := map[string]bool{}
	for _, a := range plan.Archives {
		planned[a.Name] = true
		for _, l := range a.Layouts {
			planned[path.Join(l.Path, indexName)] = true
		}
	}
	for _, f := range plan.Files {
		planned[f.Name] = true
	}
	names := slices.Clone(w.broken.Remove)
	for _, f := range w.broken.Place {
		names = append(names, f.Name)
	}
	for _, name := range names {
		archive, ok := volume.IsArchive(strings.TrimSuffix(name, sumName("")))
		if !planned[name] && !(ok && planned[archive]) {
			return fmt.Errorf("%s: an interrupted pull has replaced some files and lost others, and this one does not pull %s: run that pull again, or remove the file %s to take the archives as they are", w.dir, name, volume.PublicationFile)
		}
	}
	return nil
}

// replaces are the files of the bundle that belong to an archive and are none of its
// new ones: the old chunks of one that is whole now, or the other way round, and
// checksums that speak of other bytes.
func replaces(dir, archive string, now []string) (old []string, err error) {
	all, err := os.ReadDir(dir)
	for _, e := range all {
		of, ok := volume.IsArchive(strings.TrimSuffix(e.Name(), sumName("")))
		if ok && of == archive && !slices.Contains(now, e.Name()) {
			old = append(old, e.Name())
		}
	}
	return old, err
}
