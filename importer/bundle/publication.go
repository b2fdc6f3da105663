package bundle

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/layoutproxy/layoutproxy/layoutstore/durable"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// Changes are what a bundle's directory becomes: staged files take their place, and those
// that they replace under other names are removed.
type Changes struct {
	Place  []string // slash-separated paths below the directory
	Remove []string
}

func (c Changes) isEmpty() bool { return len(c.Place)+len(c.Remove) == 0 }

// Replace notes that an archive in a form takes the place of what a directory has of it.
func (c *Changes) Replace(dir string, a *Archive, form Form) error {
	names := form.Names(a)
	old, err := replacedBy(dir, a.Name, names)
	c.Place = append(c.Place, names...)
	c.Remove = append(c.Remove, old...)
	return err
}

// replacedBy are the files of a bundle that belong to an archive and are none of its new
// ones: the chunks of one that is in one file now, or the other way round, and checksums of
// other bytes.
func replacedBy(dir, archive string, now []string) (old []string, err error) {
	all, err := os.ReadDir(dir)
	for _, e := range all {
		of, ok := volume.IsArchive(withoutSum(e.Name()))
		if ok && of == archive && !slices.Contains(now, e.Name()) {
			old = append(old, e.Name())
		}
	}
	return old, err
}

// Publisher replaces files of a bundle's directory together. It is for one process at a time.
type Publisher struct {
	dir     string             // of the bundle
	work    string             // on the same file system, which staged files are in
	reached func(point string) // called where a crash would be worst

	broken *volume.Publication // that is published and cannot be finished; nil for none
}

// NewPublisher returns a publisher to the directory of a bundle, and finishes a publication
// that was interrupted: readers see its new files already. work is a directory on the same
// file system for staged files. reached is called at each step.
func NewPublisher(dir, work string, reached func(point string)) (*Publisher, error) {
	p := &Publisher{dir: dir, work: work, reached: reached}
	return p, p.finish()
}

// Staged is the directory of staged files, and Unstaged one for files that are still being
// written.
func (p *Publisher) Staged() string { return filepath.Join(p.work, "archives") }

// Unstaged is described at [Publisher.Staged].
func (p *Publisher) Unstaged() string { return filepath.Join(p.work, "packing") }

// MakeDirs makes both directories.
func (p *Publisher) MakeDirs() error {
	return errors.Join(os.MkdirAll(p.Staged(), 0o755), os.MkdirAll(p.Unstaged(), 0o755))
}

// IsBroken reports whether an interrupted publication has lost files. It hides the
// directory from readers until another publication takes its place, which has to cover it.
func (p *Publisher) IsBroken() bool { return p.broken != nil }

// Covers fails where names, of archives and of other files, leave out what a broken
// publication has replaced a part of: it would stay a mixture of old and new.
func (p *Publisher) Covers(names map[string]bool) error {
	if p.broken == nil {
		return nil
	}
	changed := slices.Clone(p.broken.Remove)
	for _, f := range p.broken.Place {
		changed = append(changed, f.Name)
	}
	for _, name := range changed {
		archive, ok := volume.IsArchive(withoutSum(name))
		if !names[name] && !(ok && names[archive]) {
			return fmt.Errorf("%s: an interrupted pull has replaced some files and lost others, and this one does not pull %s: run that pull again, or remove the file %s to take the archives as they are", p.dir, name, volume.PublicationFile)
		}
	}
	return nil
}

// StageIfNew stages a file if the directory does not have the same. It reports whether it did.
func (p *Publisher) StageIfNew(name string, data []byte) (bool, error) {
	if hasContent(filepath.Join(p.dir, filepath.FromSlash(name)), data) {
		return false, nil
	}
	staged := filepath.Join(p.Staged(), filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(staged), 0o755); err != nil {
		return false, err
	}
	return true, durable.WriteInPlace(staged, data, 0o666)
}

// StageWritten stages files that were written to [Publisher.Unstaged].
func (p *Publisher) StageWritten(names []string) error {
	for _, name := range names {
		if err := os.Rename(filepath.Join(p.Unstaged(), name), filepath.Join(p.Staged(), name)); err != nil {
			return err
		}
	}
	return durable.SyncDir(p.Staged())
}

// KeepStaged removes what is staged and has none of the names.
func (p *Publisher) KeepStaged(names []string) error {
	all, err := os.ReadDir(p.Staged())
	if err != nil {
		return err
	}
	for _, e := range all {
		if !slices.Contains(names, e.Name()) {
			if err := os.RemoveAll(filepath.Join(p.Staged(), e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *Publisher) journal() string    { return filepath.Join(p.dir, volume.PublicationFile) }
func (p *Publisher) newJournal() string { return filepath.Join(p.work, "publication.new") }

// Publish makes staged files the bundle's. From the rename of the journal on, readers see
// all of them (see volume.Publication), and the next publisher finishes what this one could
// not. Before it, nothing has happened.
func (p *Publisher) Publish(c Changes) error {
	if c.isEmpty() && p.broken == nil {
		return nil
	}
	staged, err := p.freeStaged()
	if err != nil {
		return err
	}
	if err := p.writeJournal(c, staged); err != nil {
		return err
	}
	p.reached("publishing")
	if err := os.Rename(p.Staged(), filepath.Join(p.dir, staged)); err != nil {
		return err
	}
	p.reached("moved")
	err = durable.SyncDir(p.dir)
	if err == nil {
		err = os.Rename(p.newJournal(), p.journal())
	}
	if err != nil {
		return errors.Join(err, os.Rename(filepath.Join(p.dir, staged), p.Staged()))
	}
	p.reached("journal")
	if err := durable.SyncDir(p.dir); err != nil {
		return fmt.Errorf("the bundle is in place, and the next pull has to clean up: %w", err)
	}
	return p.finish()
}

// freeStaged is a name for the directory of the staged files.
func (p *Publisher) freeStaged() (string, error) {
	for n := 1; ; n++ {
		name := volume.StagedDir(n)
		_, err := os.Lstat(filepath.Join(p.dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			return name, nil
		}
		if err != nil {
			return "", err
		}
	}
}

// writeJournal writes the journal beside its place, on disk with all that it names.
func (p *Publisher) writeJournal(c Changes, staged string) error {
	j := volume.Publication{Staged: staged, Remove: c.Remove}
	dirs := map[string]bool{".": true}
	for _, name := range c.Place {
		info, err := os.Stat(filepath.Join(p.Staged(), filepath.FromSlash(name)))
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
		if err := durable.SyncDir(filepath.Join(p.Staged(), filepath.FromSlash(dir))); err != nil {
			return err
		}
	}
	return durable.WriteInPlace(p.newJournal(), data, 0o666)
}

// finish finishes a publication that has a journal, and removes what an interrupted one has
// left. One that cannot be finished, because its files are missing, becomes the broken one.
func (p *Publisher) finish() error {
	j, err := volume.ReadPublication(p.dir)
	if err != nil {
		return fmt.Errorf("%s: %w: remove the file %s to take the archives as they are", p.dir, err, volume.PublicationFile)
	}
	if j == nil {
		return p.restoreStaged()
	}
	if err := volume.CheckPublication(p.dir); err != nil {
		var unfinished *volume.UnfinishedError
		if errors.As(err, &unfinished) {
			p.broken = j
			return nil
		}
		return err
	}
	if err := p.moveStaged(j); err != nil {
		return err
	}
	p.reached("placed all")
	if err := os.Remove(p.journal()); err != nil {
		return err
	}
	p.broken = nil
	p.reached("published")
	if err := durable.SyncDir(p.dir); err != nil {
		return err
	}
	return p.removeStaged()
}

// moveStaged moves the new files into their place, and removes those that they replace.
func (p *Publisher) moveStaged(j *volume.Publication) error {
	dirs := map[string]bool{".": true}
	for _, f := range j.Place {
		from, to := filepath.Join(p.dir, j.Staged, filepath.FromSlash(f.Name)), filepath.Join(p.dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		p.reached("placing")
		if err := os.Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) { // moved before
			return err
		}
		dirs[path.Dir(f.Name)] = true
	}
	for _, name := range j.Remove {
		if slices.ContainsFunc(j.Place, func(f volume.PublishedFile) bool { return f.Name == name }) {
			continue
		}
		p.reached("removing")
		if err := os.Remove(filepath.Join(p.dir, filepath.FromSlash(name))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for dir := range dirs {
		if err := durable.SyncDir(filepath.Join(p.dir, filepath.FromSlash(dir))); err != nil {
			return err
		}
	}
	return nil
}

// stagedDirs are the directories of staged files that are in the bundle's directory.
func (p *Publisher) stagedDirs() (all []string, err error) {
	entries, err := os.ReadDir(p.dir)
	for _, e := range entries {
		if volume.IsStagedDir(e.Name()) {
			all = append(all, filepath.Join(p.dir, e.Name()))
		}
	}
	return all, err
}

// removeStaged removes what a publication that is finished has left of its staged files.
func (p *Publisher) removeStaged() error {
	all, err := p.stagedDirs()
	for _, dir := range all {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// restoreStaged takes back files that were staged when a publisher was interrupted just
// before it wrote the journal.
func (p *Publisher) restoreStaged() error {
	all, err := p.stagedDirs()
	if err != nil {
		return err
	}
	for _, dir := range all {
		if err := os.Rename(dir, p.Staged()); err != nil {
			if err := os.RemoveAll(dir); err != nil { // only what can be fetched again
				return err
			}
		}
	}
	return nil
}
