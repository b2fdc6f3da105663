package importer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// record remembers the bundles that stay in the drop directory though nothing more
// is to be done with them, by the keys of their candidates, and those that are being
// taken out.
type record map[string]recorded

type recorded struct {
	Identity string  `json:"identity"`
	Status   Dropped `json:"status"`
	// Leaving is set while its files are being moved or removed.
	Leaving *leaving `json:"leaving,omitempty"`
}

// recordFile is where the record is kept, below the store.
const recordFile = journal.Dir + "/dropped.json"

// maxRecord bounds the record, in bytes: the files of the largest directory fit in.
const maxRecord = 1 << 30

// errRecordForm says that a record is not what this program writes.
var errRecordForm = errors.New("it is not a record of a drop directory")

// readRecord reads the record of a store; without a file it is empty. A damaged record
// is an error, as nobody knows then which bundles are to be taken out.
func readRecord(store string) (record, error) {
	data, err := plainfile.Read(filepath.Join(store, recordFile), maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, nil
	}
	if err != nil {
		return record{}, err
	}
	r := record{}
	if err := json.Unmarshal(data, &r); err != nil {
		return record{}, fmt.Errorf("%w: %w", errRecordForm, err)
	}
	if r == nil {
		return record{}, errRecordForm
	}
	return r, nil
}

// loadRecord reads the record. While it is damaged nothing is imported.
func (d *Drop) loadRecord() {
	r, err := readRecord(d.importer.options.Store)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.record = r
	if err == nil {
		d.damaged = nil
		return
	}
	known := d.damaged
	d.damaged = &Dropped{Name: filepath.Base(recordFile), Kind: kindEntry, State: "waiting", Since: d.Now(), Detail: fmt.Sprintf(
		"the record %s is damaged, and nothing is imported until it is gone: %v: "+
			"compare the drop directory with the store, take out what remains of imported bundles, and remove the record",
		filepath.Join(d.importer.options.Store, recordFile), err)}
	if known != nil && known.Detail == d.damaged.Detail {
		d.damaged.Since = known.Since
		return
	}
	d.log.Error("the record of the drop directory is damaged", zap.String("path", filepath.Join(d.importer.options.Store, recordFile)), zap.Error(err))
}

// writeRecord writes the record, and removes the file where there is nothing to
// remember. Either the old record or the new one survives whenever the machine stops.
// The caller holds d.mu.
func (d *Drop) writeRecord() error {
	if d.damaged != nil {
		return errors.New(d.damaged.Detail)
	}
	dk, err := openDisk(d.importer.options.Store, d.importer.before)
	if err != nil {
		return err
	}
	defer dk.close()
	if len(d.record) == 0 {
		if err := dk.remove(recordFile); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		return dk.syncDir(journal.Dir)
	}
	data, err := json.Marshal(d.record)
	if err != nil {
		return err
	}
	if len(data) > maxRecord {
		return fmt.Errorf("%s would have %d bytes, more than the %d that are read again", recordFile, len(data), maxRecord)
	}
	return dk.replaceFile(recordFile, data)
}

// draftSuffix is what a file's name ends in while it is written without the store's lock.
const draftSuffix = ".new"

// removeDraft removes a record that a process was writing when it was killed.
func (d *Drop) removeDraft() {
	_ = os.Remove(filepath.Join(d.importer.options.Store, recordFile+draftSuffix)) // the next one takes its place
}

// replaceFile is publishFile for a file that is written without the store's lock: others
// may empty staging meanwhile.
func (d *disk) replaceFile(name string, data []byte) error {
	draft := name + draftSuffix
	if err := d.root.Remove(draft); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := d.create(draft)
	if err != nil {
		return err
	}
	if err := errors.Join(bytesOf(data)(f), f.Sync(), f.Close()); err != nil {
		f.drop()
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := d.rename(draft, name); err != nil {
		f.drop()
		return err
	}
	return d.syncDir(journal.Dir)
}
