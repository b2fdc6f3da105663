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

// record describes a quarantined copy of a blob, in one state of its file.
type record struct {
	at     place // absolute place of the layout that contains the copy
	digest digest.Digest
	stamp  string
	reason string
}

// name returns the file name of the record. The name alone identifies the copy and the state of its
// file, so a record with damaged content still works.
func (v record) name() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q", v.at.path, v.at.entry, string(v.digest), v.stamp))
	return hex.EncodeToString(sum[:]) + recordSuffix
}

// recordForm is the format of a record's file. Values are quoted: paths may have any characters.
const recordForm = "layoutproxy quarantine 1\npath %q\nentry %q\ndigest %q\nstamp %q\nreason %q\n"

const recordSuffix = ".quarantine"

// These are the limits of a quarantine directory.
const (
	maxRecord  = 64 << 10 // maximum size of a record in bytes
	maxRecords = 1 << 16  // maximum number of records
)

// records keeps a quarantine in a directory. Each record is a file, so that several processes can
// share the directory. If dir is "", nothing is kept. Changes are queued until sync writes and
// removes the files.
type records struct {
	dir   string
	limit int

	syncing sync.Mutex // held while the directory is read or written; protects read and count
	read    bool       // whether the directory has been read
	count   int        // number of records in the directory

	mu      sync.Mutex         // protects queued and failure
	queued  map[string]*record // records to write, by name; nil means to remove the record
	failure string             // why the last sync could not read, write or remove something
}

func newRecords(dir string) *records {
	return &records{dir: dir, limit: maxRecords, queued: map[string]*record{}}
}

func (r *records) queueWrite(v record) { r.queue(v.name(), &v) }

func (r *records) queueRemove(name string) { r.queue(name, nil) }

func (r *records) queue(name string, v *record) {
	if r.dir == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queued[name] = v
}

// isMissing reports whether the file of a record is missing, for example in a cleared cache.
func (r *records) isMissing(v record) bool {
	if r.dir == "" {
		return false
	}
	_, err := os.Lstat(filepath.Join(r.dir, v.name()))
	return errors.Is(err, fs.ErrNotExist)
}

// sync removes and writes queued records. If the directory was not read yet, sync reads it. It then
// returns the records that can be read, and the errors of those that cannot, by name.
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
		failure = fmt.Sprintf("the quarantine cannot be saved (%v): blobs that a scrub found damaged are refused only until the next restart", writeErr)
	case removeErr != nil:
		failure = fmt.Sprintf("a record of the quarantine cannot be removed (%v): an intact blob is refused after the next restart, until a scrub reads it again", removeErr)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failure = failure
	maps.Copy(waiting, r.queued) // the next sync tries the rest again
	r.queued = waiting
	return found, unread
}

// readAll reads all records. unread contains the errors of records that cannot be read, by name.
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
		case errors.Is(err, fs.ErrNotExist): // a different process has removed the record
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

// write writes the records in waiting, and removes them from waiting. It stops at the first
// failure, because all later writes would probably fail, too.
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
		text = "" // too long: write only an empty file, whose name is enough to refuse the copy
	}
	if err := durable.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o644); err != nil {
		return err
	}
	r.count++
	return nil
}

// remove removes the files of records that are queued for removal, and takes the records out of
// waiting. It stops at the first failure.
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

// problems returns the problem that the last sync had, if any.
func (r *records) problems() []Problem {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure == "" {
		return nil
	}
	return []Problem{{Kind: Limited, Path: r.dir, Reason: r.failure}}
}
