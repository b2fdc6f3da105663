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

// Changes are the changes that a publication makes in a bundle's directory. Place lists the staged
// files to move into this directory. Remove lists old files that no new file overwrites.
type Changes struct {
	Place  []string // slash-separated paths below the bundle's directory
	Remove []string
}

// Replace adds the changes for one archive: its staged files replace its old files in dir.
func (c *Changes) Replace(dir string, a *Archive, form Form) error {
	names := form.Names(a)
	old, err := replacedBy(dir, a.Name, names)
	c.Place = append(c.Place, names...)
	c.Remove = append(c.Remove, old...)
	return err
}

// replacedBy lists the old files of an archive in a directory that its new files do not overwrite.
// For example, if the new archive is one file, it lists the old chunks and their checksum files.
func replacedBy(dir, archive string, now []string) (old []string, err error) {
	all, err := os.ReadDir(dir)
	for _, e := range all {
		of, ok := ArchiveOf(e.Name())
		if ok && of == archive && !slices.Contains(now, e.Name()) {
			old = append(old, e.Name())
		}
	}
	return old, err
}

// Publisher replaces several files in a bundle's directory at once. Only one process may use the
// directory at a time.
type Publisher struct {
	dir string // directory of the bundle

	work string // parent of the staging directories, on the same file system

	reached func(point string) // called before and after critical steps, for tests

	broken *volume.Publication // interrupted publication that cannot be completed; nil if there is none
}

// NewPublisher returns a publisher for the directory of a bundle. It completes an interrupted
// publication, because readers already see the new files. work is a directory for staged files, on
// the same file system. reached is called at each step.
func NewPublisher(dir, work string, reached func(point string)) (*Publisher, error) {
	p := &Publisher{dir: dir, work: work, reached: reached}
	return p, p.finish()
}

// Staged returns the directory of staged files.
func (p *Publisher) Staged() string { return filepath.Join(p.work, "archives") }

// Unstaged returns the directory of files that are still being written.
func (p *Publisher) Unstaged() string { return filepath.Join(p.work, "packing") }

// MakeDirs creates the directories that [Publisher.Staged] and [Publisher.Unstaged] return.
func (p *Publisher) MakeDirs() error {
	return errors.Join(os.MkdirAll(p.Staged(), 0o755), os.MkdirAll(p.Unstaged(), 0o755))
}

// IsBroken reports whether an interrupted publication has lost some of its files. Readers refuse
// the directory until another publication replaces all files of the interrupted one.
func (p *Publisher) IsBroken() bool { return p.broken != nil }

// Covers returns an error unless names contains, for every file of a broken publication, either the
// file or its archive. Publishing less would leave a mixture of old and new files.
func (p *Publisher) Covers(names map[string]bool) error {
	if p.broken == nil {
		return nil
	}
	changed := slices.Clone(p.broken.Remove)
	for _, f := range p.broken.Place {
		changed = append(changed, f.Name)
	}
	for _, name := range changed {
		archive, ok := ArchiveOf(name)
		if !names[name] && !(ok && names[archive]) {
			return fmt.Errorf("%s: an interrupted pull has replaced some files and lost others, and this pull does not include %s: run the interrupted pull again, or remove the file %s to accept the archives as they are", p.dir, name, volume.PublicationFile)
		}
	}
	return nil
}

// StageIfNew stages a file if the bundle's file is missing or differs. It reports whether it staged the file.
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

// StageWritten moves complete files from [Publisher.Unstaged] to [Publisher.Staged].
func (p *Publisher) StageWritten(names []string) error {
	for _, name := range names {
		if err := os.Rename(filepath.Join(p.Unstaged(), name), filepath.Join(p.Staged(), name)); err != nil {
			return err
		}
	}
	return durable.SyncDir(p.Staged())
}

// KeepStaged removes all staged files except those in names.
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

// Publish moves staged files into the bundle. Readers see none of them before the journal has its
// final name, and all of them afterwards (see volume.Publication). If Publish is interrupted, the
// next publisher completes the move.
func (p *Publisher) Publish(c Changes) error {
	if len(c.Place)+len(c.Remove) == 0 && p.broken == nil {
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
	if err = durable.SyncDir(p.dir); err == nil {
		err = p.finish()
	}
	if err != nil {
		return fmt.Errorf("the bundle is published, but moving its files into place or cleaning up failed; the next pull tries again: %w", err)
	}
	return nil
}

// freeStaged returns an unused name for a directory of staged files in the bundle's directory.
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

// writeJournal writes the journal under a temporary name. It syncs the journal and the directories
// of the staged files.
func (p *Publisher) writeJournal(c Changes, staged string) error {
	j := volume.Publication{Staged: staged, Remove: c.Remove}
	dirs := map[string]bool{".": true}
	for _, name := range c.Place {
		info, err := os.Stat(filepath.Join(p.Staged(), filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		j.Place = append(j.Place, volume.PublishedFileOf(name, info))
		addParents(dirs, name)
	}
	data, err := j.Encode()
	if err != nil {
		return err
	}
	if err := syncDirs(p.Staged(), dirs); err != nil {
		return err
	}
	return durable.WriteInPlace(p.newJournal(), data, 0o666)
}

func syncDirs(dir string, names map[string]bool) error {
	for name := range names {
		if err := durable.SyncDir(filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			return err
		}
	}
	return nil
}

// finish completes the publication if there is a journal. If staged files are missing, it records the
// publication as broken. If there is no journal, it moves staged files back to the work directory.
func (p *Publisher) finish() error {
	j, err := volume.ReadPublication(p.dir)
	switch {
	case errors.Is(err, volume.ErrLaterFormat):
		return fmt.Errorf("%s: %w: run the interrupted pull again with the version of layoutproxy that began it", p.dir, err)
	case volume.IsExhausted(err), volume.IsTransient(err):
		return fmt.Errorf("%s: %w", p.dir, err)
	case err != nil:
		return fmt.Errorf("%s: %w: remove the file %s, and run the interrupted pull again", p.dir, err, volume.PublicationFile)
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

// moveStaged moves the new files into place, and removes the old files that the journal lists.
func (p *Publisher) moveStaged(j *volume.Publication) error {
	for _, f := range j.Place {
		from, to := filepath.Join(p.dir, j.Staged, filepath.FromSlash(f.Name)), filepath.Join(p.dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		p.reached("placing")
		if err := os.Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) { // moved before
			return err
		}
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
	return syncDirs(p.dir, changedDirs(j))
}

// changedDirs returns the directories in which a publication adds or removes files. It also returns their
// parents, because the publication may have created the directories.
func changedDirs(j *volume.Publication) map[string]bool {
	dirs := map[string]bool{".": true}
	for _, f := range j.Place {
		addParents(dirs, f.Name)
	}
	for _, name := range j.Remove {
		addParents(dirs, name)
	}
	return dirs
}

// addParents adds to dirs all directories above a path.
func addParents(dirs map[string]bool, name string) {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		dirs[dir] = true
	}
}

// stagedDirs lists the directories of staged files in the bundle's directory.
func (p *Publisher) stagedDirs() (all []string, err error) {
	entries, err := os.ReadDir(p.dir)
	for _, e := range entries {
		if volume.IsStagedDir(e.Name()) {
			all = append(all, filepath.Join(p.dir, e.Name()))
		}
	}
	return all, err
}

func (p *Publisher) removeStaged() error {
	all, err := p.stagedDirs()
	for _, dir := range all {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// restoreStaged moves staged files back to the work directory. This is needed if a publisher was
// interrupted just before it renamed the journal.
func (p *Publisher) restoreStaged() error {
	all, err := p.stagedDirs()
	if err != nil {
		return err
	}
	for _, dir := range all {
		if err := os.Rename(dir, p.Staged()); err != nil {
			if err := os.RemoveAll(dir); err != nil { // the next pull can fetch these files again
				return err
			}
		}
	}
	return nil
}
