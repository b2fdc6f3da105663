package layoutstore

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/durable"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// record is a quarantined copy of a blob in one state of its file.
type record struct {
	at     place // of its layout, absolute
	digest digest.Digest
	stamp  string
	reason string
}

// name returns the name of the record's file. It identifies the copy and the state of its file,
// so that a record with damaged content still takes effect.
func (v record) name() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q", v.at.path, v.at.entry, string(v.digest), v.stamp))
	return hex.EncodeToString(sum[:]) + recordSuffix
}

// recordForm is the format of a record's file. Quoting allows any path.
const recordForm = "layoutproxy quarantine 1\npath %q\nentry %q\ndigest %q\nstamp %q\nreason %q\n"

const recordSuffix = ".quarantine"

// Limits of a quarantine directory.
const (
	maxRecord  = 64 << 10 // bytes per record
	maxRecords = 1 << 16  // records
)

// records keeps a quarantine in a directory, one file per record, so that processes that
// share the directory never write the same file. If dir is empty, nothing is kept. Changes are
// queued until sync writes and removes the files.
type records struct {
	dir   string
	limit int

	syncing sync.Mutex // held while the directory is read and written; guards read and count
	read    bool       // the directory has been read
	count   int        // number of records in the directory

	mu      sync.Mutex         // guards queued and failure
	queued  map[string]*record // to write, by name; nil to remove
	failure string             // why something could not be read, written or removed
}

func newRecords(dir string) *records {
	return &records{dir: dir, limit: maxRecords, queued: map[string]*record{}}
}

// queueWrite queues a record to be written.
func (r *records) queueWrite(v record) { r.queue(v.name(), &v) }

// queueRemove queues a record to be removed.
func (r *records) queueRemove(name string) { r.queue(name, nil) }

func (r *records) queue(name string, v *record) {
	if r.dir == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queued[name] = v
}

// isMissing reports whether the file of a record was removed, for example by clearing the cache.
func (r *records) isMissing(v record) bool {
	if r.dir == "" {
		return false
	}
	_, err := os.Lstat(filepath.Join(r.dir, v.name()))
	return errors.Is(err, fs.ErrNotExist)
}

// sync removes and writes queued records. If the directory has not been read yet, sync reads it
// and returns its records, and the errors of those that cannot be read, by name.
func (r *records) sync() (found []record, unread map[string]error) {
	if r.dir == "" {
		return nil, nil
	}
	r.syncing.Lock()
	defer r.syncing.Unlock()
	r.mu.Lock()
	waiting := r.queued
	r.queued = map[string]*record{}
	r.mu.Unlock()
	failure := ""
	if !r.read {
		var err error
		if found, unread, err = r.readAll(); err != nil {
			failure = fmt.Sprintf("the quarantine cannot be read (%v): blobs that an earlier scrub found damaged are served until a scrub reads them again", err)
		}
		r.read = err == nil
		r.count += len(found) + len(unread)
	}
	removeErr := r.remove(waiting)
	writeErr := r.write(waiting)
	switch {
	case failure != "":
	case writeErr != nil:
		failure = fmt.Sprintf("the quarantine cannot be saved (%v): blobs that a scrub found damaged are refused until the next restart only", writeErr)
	case removeErr != nil:
		failure = fmt.Sprintf("a record of the quarantine cannot be removed (%v): an intact blob is refused after the next restart, until a scrub reads it again", removeErr)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failure = failure
	maps.Copy(waiting, r.queued) // try the rest again later
	r.queued = waiting
	return found, unread
}

// readAll reads the records, and the errors of those that cannot be read, by name.
func (r *records) readAll() (found []record, unread map[string]error, err error) {
	entries, err := os.ReadDir(r.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	unread = map[string]error{}
	for _, e := range entries {
		if !isRecord(e.Name()) {
			continue
		}
		v, err := r.readRecord(e)
		switch {
		case errors.Is(err, fs.ErrNotExist): // another process has removed it
		case err != nil:
			unread[e.Name()] = err
		default:
			found = append(found, v)
		}
	}
	return found, unread, nil
}

func isRecord(name string) bool {
	return len(name) == 2*sha256.Size+len(recordSuffix) && filepath.Ext(name) == recordSuffix && name[0] != '.'
}

var (
	errNoRecord      = errors.New("not a regular file")
	errRecordDamaged = errors.New("its content is damaged")
)

func (r *records) readRecord(e fs.DirEntry) (v record, err error) {
	if !e.Type().IsRegular() {
		return v, errNoRecord
	}
	data, err := plainfile.Read(filepath.Join(r.dir, e.Name()), maxRecord)
	if errors.Is(err, plainfile.ErrTooLong) || errors.Is(err, plainfile.ErrNotRegular) {
		err = errRecordDamaged
	}
	if err != nil {
		return v, err
	}
	var d string
	_, err = fmt.Sscanf(string(data), recordForm, &v.at.path, &v.at.entry, &d, &v.stamp, &v.reason)
	if v.digest = digest.Digest(d); err != nil || v.name() != e.Name() {
		return v, errRecordDamaged
	}
	return v, nil
}

// write writes records and removes them from waiting. It stops at the first failure, which is
// likely to affect all.
func (r *records) write(waiting map[string]*record) error {
	for name, v := range waiting {
		if v == nil {
			continue
		}
		if err := r.writeOne(name, v); err != nil {
			return err
		}
		delete(waiting, name)
	}
	return nil
}

func (r *records) writeOne(name string, v *record) error {
	if err := durable.MkdirAll(r.dir, 0o755); err != nil {
		return err
	}
	if r.count >= r.limit {
		return fmt.Errorf("%s contains %d records, the limit", r.dir, r.count)
	}
	const most = 4 << 10
	reason := v.reason[:min(most, len(v.reason))]
	text := fmt.Sprintf(recordForm, v.at.path, v.at.entry, string(v.digest), v.stamp, reason)
	if len(text) > maxRecord {
		text = "" // the name is enough to refuse the copy
	}
	if err := durable.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o644); err != nil {
		return err
	}
	r.count++
	return nil
}

// remove removes the files of records, and the records from waiting. It stops at the first
// failure.
func (r *records) remove(waiting map[string]*record) error {
	for name, v := range waiting {
		if v != nil {
			continue
		}
		err := os.Remove(filepath.Join(r.dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil {
			r.count = max(0, r.count-1)
		}
		delete(waiting, name)
	}
	return nil
}

// problems returns the problem of the directory, if there is one.
func (r *records) problems() []Problem {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure == "" {
		return nil
	}
	return []Problem{{Kind: Limited, Path: r.dir, Reason: r.failure}}
}
