package drop

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/importer/publish"
)

// record remembers the bundles that stay in the drop directory though nothing more
// is to be done with them, by the keys of their candidates, and those that are being
// taken out.
type record map[string]recorded

type recorded struct {
	Identity string `json:"identity"`
	Status   Status `json:"status"`
	// Leaving is set while its files are being moved or removed.
	Leaving *savedMove `json:"leaving,omitempty"`
}

// maxRecord bounds the record, in bytes: the files of the largest directory fit in.
const maxRecord = 1 << 30

// errRecordForm says that a record is not what this program writes.
var errRecordForm = errors.New("it is not a record of a drop directory")

// readRecord reads a record; without a file it is empty. A damaged record
// is an error, as nobody knows then which bundles are to be taken out.
func readRecord(note publish.Note) (record, error) {
	data, err := note.Read()
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
	r, err := readRecord(d.note)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.record = r
	if err == nil {
		d.damaged = nil
		return
	}
	known := d.damaged
	d.damaged = &Status{Name: d.note.Name, Kind: kindEntry, State: "waiting", Since: d.options.Now(), Detail: fmt.Sprintf(
		"the record %s is damaged, and nothing is imported until it is gone: %v: "+
			"compare the drop directory with the store, take out what remains of imported bundles, and remove the record",
		d.note.Path(), err)}
	if known != nil && known.Detail == d.damaged.Detail {
		d.damaged.Since = known.Since
		return
	}
	d.log.Error("the record of the drop directory is damaged", zap.String("path", d.note.Path()), zap.Error(err))
}

// writeRecord writes the record, and removes the file where there is nothing to
// remember. Either the old record or the new one survives whenever the machine stops.
// The caller holds d.mu.
func (d *Drop) writeRecord() error {
	if d.damaged != nil {
		return errors.New(d.damaged.Detail)
	}
	if len(d.record) == 0 {
		return d.note.Remove()
	}
	data, err := json.Marshal(d.record)
	if err != nil {
		return err
	}
	return d.note.Write(data)
}
