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
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize/english"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/durable"
	"github.com/layoutproxy/layoutproxy/layoutstore/fileid"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// clearImported moves or removes the files that an import has read. All other files of the bundle stay
// and are reported. wait is the time until the next scan; 0 means that only a change causes a scan.
func (d *Drop) clearImported(ctx context.Context, it *item, opened *fileid.Set) (wait time.Duration) {
	changed := d.changedSince(ctx, it)
	rest, err := d.moveOrRemove(ctx, it, opened, changed)
	if err != nil && errors.Is(err, ctx.Err()) {
		return 0 // no file was moved: the bundle stays, and the next process imports it again
	}
	d.forgetMove(it.key())
	if err == nil && len(rest) > 0 && !changed {
		err = &restError{rest}
	}
	d.setState(it, "published", "")
	return d.endItem(ctx, it, changed, err)
}

// setAside moves a complete but damaged bundle to failed/ and writes the reason beside it.
func (d *Drop) setAside(ctx context.Context, it *item, incomplete *importer.IncompleteError) time.Duration {
	if d.changedSince(ctx, it) {
		d.wait(it, justChanged) // somebody has replaced the refused files
		return d.endItem(ctx, it, true, nil)
	}
	err := d.options.Guard()
	if err == nil {
		err = d.moveFailed(it, incomplete)
		d.forgetMove(it.key())
	}
	if err == nil {
		d.log.Info("moved a refused bundle to failed/, with the reason beside it", zap.String("bundle", it.name), zap.String("directory", filepath.Join(d.options.Dir, "failed")))
	}
	d.setState(it, "failed", incomplete.Error())
	return d.endItem(ctx, it, false, err)
}

// endItem ends the work on a bundle. If some of its files stay in the drop directory, err says why,
// and endItem records them so that they are not read again. If the bundle changed meanwhile, it
// counts as a new bundle.
func (d *Drop) endItem(ctx context.Context, it *item, changed bool, err error) time.Duration {
	if err != nil {
		d.log.Warn("files of a bundle stay in the drop directory", zap.String("bundle", it.name), zap.Error(err))
		if !changed {
			d.recordStaying(ctx, it, err)
		}
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

func (d *Drop) recordStaying(ctx context.Context, it *item, cause error) {
	it.settled = true
	if it.kind == kindDirectory {
		now := candidate{kind: it.kind, path: it.path}
		if _, err := now.scan(ctx, d.options.MaxFiles); err == nil {
			it.identity = now.identity // identify the bundle by its remaining files from now on
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if it.status.State == "published" {
		it.status.Detail = cause.Error()
	}
	d.saved[it.key()] = savedBundle{Identity: it.identity, Status: it.status}
	if err := d.saveState(); err != nil {
		d.log.Warn("cannot record a bundle, so it will be read again after a restart", zap.String("bundle", it.name), zap.Error(err))
	}
}

// maxHistory limits how many finished bundles [Drop.Status] lists.
const maxHistory = 100

func (d *Drop) changedSince(ctx context.Context, it *item) bool {
	if it.kind == kindDirectory {
		now := candidate{kind: it.kind, path: it.path}
		_, err := now.scan(ctx, d.options.MaxFiles)
		return err != nil || now.identity != it.identity
	}
	found, err := volume.FindArchives(d.options.Dir)
	return err != nil || !slices.ContainsFunc(found.Sets, func(s volume.Set) bool { return s.Name == it.name && d.identityOf(s) == it.identity })
}

// moveOrRemove moves the files that an import has read to done/, or removes them. rest lists the
// files of the bundle that stay, with a reason for each. If it returns the error of the context,
// nothing was moved or removed.
func (d *Drop) moveOrRemove(ctx context.Context, it *item, opened *fileid.Set, changed bool) (rest []staying, err error) {
	root, err := plainfile.OpenRoot(d.options.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	m := mover{root: root, opened: opened, keepDirs: changed, before: d.before}
	if err := m.findFiles(ctx, it); err != nil {
		return nil, err
	}
	if err := d.options.Guard(); err != nil {
		return nil, fmt.Errorf("nothing was moved or removed: %w", err)
	}
	if len(m.files) == 0 && !d.options.Remove {
		return m.rest, nil
	}
	to := ""
	if !d.options.Remove {
		if to, err = m.makeDone(it); err != nil {
			return m.rest, err
		}
	}
	inOneStep := !d.options.Remove && it.kind == kindDirectory && len(m.rest) == 0 && !m.keepDirs
	if err := d.saveMove(it, &savedMove{Kind: it.kind, Name: it.name, To: to}, &m); err != nil {
		return m.rest, fmt.Errorf("nothing was moved or removed: %w", err)
	}
	switch {
	case d.options.Remove:
		err = m.remove()
	case inOneStep: // move the directory in one step, so that a crash cannot split it
		if err = m.rename(it.name, filepath.Join(to, it.name)); err == nil {
			err = m.returnNewFiles(ctx, it.name, to) // move back the files that the import has not read
		}
	default:
		err = m.move(to)
	}
	return m.rest, err
}

// makeDone creates the directory to which a bundle is moved. It is done/ or, if done/ already has
// one of the names, a numbered directory in done/.
func (m *mover) makeDone(it *item) (string, error) {
	names := []string{it.name}
	if it.kind == kindArchive {
		names = append(names, m.files...)
	}
	return freeDir(m.root, "done", names)
}

// moveFailed moves the files of a refused bundle to failed/. It moves a directory in one step, with
// all of its files.
func (d *Drop) moveFailed(it *item, incomplete *importer.IncompleteError) error {
	root, err := plainfile.OpenRoot(d.options.Dir)
	if err != nil {
		return err
	}
	defer root.Close()
	names := []string{it.name}
	if it.kind == kindArchive {
		names = archiveFiles(root, it.set)
	}
	reason := it.name + ".reason.json"
	dir, err := freeDir(root, "failed", append([]string{reason}, names...))
	if err != nil {
		return err
	}
	if err := writeReason(root, filepath.Join(dir, reason), it.name, d.options.Now(), incomplete); err != nil {
		return err
	}
	if it.kind == kindDirectory {
		return d.renameFailed(root, names, dir)
	}
	return d.moveSet(it, root, names, dir)
}

// moveSet moves the files of a refused archive one by one. It records the move first. Otherwise,
// after a crash, the remaining chunks would look like an incomplete or a different bundle.
func (d *Drop) moveSet(it *item, root *os.Root, names []string, dir string) error {
	m := mover{root: root, files: names, before: d.before}
	l := &savedMove{Kind: it.kind, Name: it.name, To: dir, Refused: true}
	if err := d.saveMove(it, l, &m); err != nil {
		return fmt.Errorf("nothing was moved: %w", err)
	}
	if m.opened = l.opened(); m.opened.Len() == 0 {
		return d.renameFailed(root, names, dir) // files cannot be identified on a system without inodes
	}
	err := m.move(dir)
	if err == nil && len(m.rest) > 0 {
		err = &restError{m.rest}
	}
	return err
}

// renameFailed moves files of a refused bundle to dir. It ignores files that do not exist anymore.
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

// freeDir creates the directory for moved files: the first of to, to/2, to/3 and so on in which
// none of the names exists. If a name is a number, the first is to/2, because in to itself, a
// directory with this name would look like a numbered one.
func freeDir(root *os.Root, to string, names []string) (string, error) {
	first := 1
	if slices.ContainsFunc(names, isNumber) {
		first = 2
	}
	for n := first; ; n++ {
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

// isNumber reports whether a name may be that of a numbered directory. Dates such as 20260131 are too large.
func isNumber(name string) bool {
	n, err := strconv.Atoi(name)
	return err == nil && 1 < n && n < 100_000 && strconv.Itoa(n) == name
}

// restError reports which files of a bundle stay in the drop directory, and why.
type restError struct{ rest []staying }

func (e *restError) Error() string {
	const most = 5
	var parts []string
	for _, s := range e.rest[:min(most, len(e.rest))] {
		parts = append(parts, s.String())
	}
	if more := len(e.rest) - most; more > 0 {
		parts = append(parts, fmt.Sprintf("and %d more", more))
	}
	files := english.PluralWord(len(e.rest), "1 file stays", fmt.Sprint(len(e.rest), " files stay"))
	return files + " in the drop directory: " + strings.Join(parts, "; ")
}

type reasonFile struct {
	Name     string                `json:"name"`
	Time     time.Time             `json:"time"`
	Error    string                `json:"error"`
	Problems []layoutstore.Problem `json:"gaps"`
}

func writeReason(root *os.Root, file, name string, now time.Time, incomplete *importer.IncompleteError) error {
	data, err := json.MarshalIndent(reasonFile{name, now.UTC(), incomplete.Error(), incomplete.Problems}, "", "  ")
	if err != nil {
		return err
	}
	return durable.WriteFileIn(root, file, append(data, '\n'), 0o644)
}
