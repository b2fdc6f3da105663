package drop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/durable"
	"github.com/layoutproxy/layoutproxy/layoutstore/fileid"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// takeOutImported takes what was read of an imported bundle out of the drop directory: it moves
// it to done/, or removes it. Whatever else is there stays, and is reported. wait is
// when to look again; 0 is when something has changed.
func (d *Drop) takeOutImported(ctx context.Context, it *item, opened *fileid.Set) (wait time.Duration) {
	changed := d.changedSince(ctx, it)
	rest, err := d.takeOut(ctx, it, opened, changed)
	d.forgetMove(it.key())
	if err == nil && len(rest) > 0 && !changed {
		err = &restError{rest}
	}
	d.setState(it, "published", "")
	return d.endItem(ctx, it, changed, err)
}

// keepUnread leaves a bundle where it is: it was published, and not all of it could be
// read once more.
func (d *Drop) keepUnread(ctx context.Context, it *item, err error) time.Duration {
	if ctx.Err() != nil {
		return 0
	}
	d.setState(it, "published", "")
	return d.endItem(ctx, it, d.changedSince(ctx, it), err)
}

// setAside moves a bundle that is complete and bad to failed/, with the reason beside it.
func (d *Drop) setAside(ctx context.Context, it *item, gap *importer.GapError) time.Duration {
	if d.changedSince(ctx, it) {
		d.wait(it, justChanged) // what was refused is not there any more
		return d.endItem(ctx, it, true, nil)
	}
	err := d.options.Guard()
	if err == nil {
		err = d.moveFailed(it, gap)
		d.forgetMove(it.key())
	}
	if err == nil {
		d.log.Info("the bundle lies with those that were refused, and the reason beside it", zap.String("bundle", it.name), zap.String("directory", filepath.Join(d.options.Dir, "failed")))
	}
	d.setState(it, "failed", gap.Error())
	return d.endItem(ctx, it, false, err)
}

// endItem ends the work on a bundle. What stays of it, for the reason that err gives, is
// remembered, so that it is not read again. What changed meanwhile is another bundle.
func (d *Drop) endItem(ctx context.Context, it *item, changed bool, err error) time.Duration {
	if err != nil {
		d.reportStaying(ctx, it, err, !changed)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case changed:
		it.identity, it.settled = "", false
		return max(d.options.Settle, moment)
	case err != nil:
		return 0
	}
	delete(d.items, it.key())
	if d.history = append([]Status{it.status}, d.history...); len(d.history) > maxHistory {
		d.history = d.history[:maxHistory]
	}
	return 0
}

// reportStaying reports a bundle of which something stays in the drop directory.
func (d *Drop) reportStaying(ctx context.Context, it *item, cause error, remember bool) {
	d.log.Warn("something of a bundle stays in the drop directory", zap.String("bundle", it.name), zap.Error(cause))
	if !remember {
		return
	}
	it.settled = true
	if it.kind == kindDirectory {
		now := candidate{kind: it.kind, path: it.path}
		if _, err := now.scan(ctx, d.options.MaxFiles); err == nil {
			it.identity = now.identity // what is left is what was left
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if it.status.State == "published" {
		it.status.Detail = cause.Error()
	}
	d.saved[it.key()] = savedBundle{Identity: it.identity, Status: it.status}
	if err := d.saveState(); err != nil {
		d.log.Warn("a bundle will be read again after a restart", zap.String("bundle", it.name), zap.Error(err))
	}
}

// maxHistory is how many bundles are remembered that went.
const maxHistory = 100

// changedSince says whether a bundle was written to while it was imported.
func (d *Drop) changedSince(ctx context.Context, it *item) bool {
	if it.kind == kindDirectory {
		now := candidate{kind: it.kind, path: it.path}
		_, err := now.scan(ctx, d.options.MaxFiles)
		return err != nil || now.identity != it.identity
	}
	found, err := volume.FindArchives(d.options.Dir)
	return err != nil || !slices.ContainsFunc(found.Sets, func(s volume.Set) bool { return s.Name == it.name && s.Identity() == it.identity })
}

// takeOut moves the files of a bundle that were read to done/, or removes them. rest
// are the others, each with the reason why it stays.
func (d *Drop) takeOut(ctx context.Context, it *item, opened *fileid.Set, changed bool) (rest []staying, err error) {
	root, err := plainfile.OpenRoot(d.options.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	m := mover{root: root, opened: opened, keepDirs: changed, before: d.before}
	if err := m.find(ctx, it); err != nil {
		return nil, err
	}
	if err := d.options.Guard(); err != nil {
		return nil, fmt.Errorf("nothing is moved or removed: %w", err)
	}
	if len(m.files) == 0 && !d.options.Remove {
		return m.rest, nil
	}
	to := ""
	if !d.options.Remove {
		if to, err = m.done(it); err != nil {
			return m.rest, err
		}
	}
	whole := !d.options.Remove && it.kind == kindDirectory && len(m.rest) == 0 && !m.keepDirs
	if err := d.saveMove(it, &savedMove{Kind: it.kind, Name: it.name, To: to}, &m); err != nil {
		return m.rest, fmt.Errorf("nothing is moved or removed: %w", err)
	}
	switch {
	case d.options.Remove:
		err = m.remove()
	case whole:
		err = m.moveWhole(ctx, it, to)
	default:
		err = m.move(to)
	}
	return m.rest, err
}

// before is called before each change.
func (d *Drop) before(op, path string) error {
	if d.imports.Before == nil {
		return nil
	}
	return d.imports.Before(op, path)
}

// done makes the directory that a bundle goes to.
func (m *mover) done(it *item) (string, error) {
	names := []string{it.name}
	if it.kind == kindArchive {
		names = append(names, m.files...)
	}
	return freeDir(m.root, "done", names)
}

// moveFailed moves the files of a bundle that was refused. Nothing of it is lost by
// that, so a directory goes as one.
func (d *Drop) moveFailed(it *item, gap *importer.GapError) error {
	root, err := plainfile.OpenRoot(d.options.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	names := []string{it.name}
	if it.kind == kindArchive {
		if names, err = archiveFiles(root, it.set); err != nil {
			return err
		}
	}
	reason := it.name + ".reason.json"
	dir, err := freeDir(root, "failed", append([]string{reason}, names...))
	if err != nil {
		return err
	}
	if err := writeReason(root, filepath.Join(dir, reason), it.name, d.options.Now(), gap); err != nil {
		return err
	}
	if it.kind == kindDirectory {
		return d.renameFailed(root, names, dir)
	}
	return d.moveSet(it, root, names, dir)
}

// moveSet moves the files of an archive that was refused, one by one, and records that
// before: a part of them would be waited for, or be another bundle.
func (d *Drop) moveSet(it *item, root *os.Root, names []string, dir string) error {
	m := mover{root: root, files: names, before: d.before}
	l := &savedMove{Kind: it.kind, Name: it.name, To: dir, Refused: true}
	if err := d.saveMove(it, l, &m); err != nil {
		return fmt.Errorf("nothing is moved: %w", err)
	}
	if m.opened = l.opened(); m.opened.Len() == 0 {
		return d.renameFailed(root, names, dir) // the system does not tell files from each other
	}
	err := m.move(dir)
	if err == nil && len(m.rest) > 0 {
		err = &restError{m.rest}
	}
	return err
}

// renameFailed moves what was refused. What somebody else took is no error.
func (d *Drop) renameFailed(root *os.Root, names []string, dir string) (failed error) {
	for _, name := range names {
		err := d.before("rename dropped", name)
		if err == nil {
			err = root.Rename(name, filepath.Join(dir, name))
		}
		if !errors.Is(err, fs.ErrNotExist) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// freeDir makes the directory that files go to: to, or where it has one of the names
// already, the first of to/2, to/3 and so on that has none.
func freeDir(root *os.Root, to string, names []string) (string, error) {
	for n := 1; ; n++ {
		dir := to
		if n > 1 {
			dir = filepath.Join(dir, fmt.Sprint(n))
		}
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
		taken := false
		for _, name := range names {
			if _, err := root.Lstat(filepath.Join(dir, name)); err == nil {
				taken = true
			}
		}
		if !taken {
			return dir, nil
		}
	}
}

// restError says what of a bundle stays in the drop directory.
type restError struct{ rest []staying }

func (e *restError) Error() string {
	const most = 5
	text := "1 file stays in the drop directory: "
	if len(e.rest) > 1 {
		text = fmt.Sprintf("%d files stay in the drop directory: ", len(e.rest))
	}
	for i, s := range e.rest[:min(most, len(e.rest))] {
		if i > 0 {
			text += "; "
		}
		text += s.String()
	}
	if more := len(e.rest) - most; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return text
}

// reasonFile is what stands in NAME.reason.json.
type reasonFile struct {
	Name  string                `json:"name"`
	Time  time.Time             `json:"time"`
	Error string                `json:"error"`
	Gaps  []layoutstore.Problem `json:"gaps"`
}

func writeReason(root *os.Root, file, name string, now time.Time, gap *importer.GapError) error {
	data, err := json.MarshalIndent(reasonFile{name, now.UTC(), gap.Error(), gap.Gaps}, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFileIn(root, file, append(data, '\n'), 0o644)
}
