package drop

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/importer/publish"
)

// savedState is the content of dropped.json: bundles that stay in the drop directory after their
// import, and bundles that are being moved or removed. Its keys are those of candidate.key.
type savedState map[string]savedBundle

type savedBundle struct {
	Identity string `json:"identity"`
	Status   Status `json:"status"`
	// Move is nil unless the files of the bundle are being moved or removed.
	Move *savedMove `json:"leaving,omitempty"`
}

// maxSavedState is the maximum size of dropped.json, in bytes. It is enough to record all files of
// the largest directory.
const maxSavedState = 1 << 30

// errStateFormat reports that dropped.json is damaged or has an unknown format.
var errStateFormat = errors.New("not a record of a drop directory")

// readState reads dropped.json. If there is no file, the state is empty. A damaged file is an
// error, because nobody knows which bundles are already imported.
func readState(note publish.Note) (savedState, error) {
	data, err := note.Read()
	if errors.Is(err, fs.ErrNotExist) {
		return savedState{}, nil
	}
	if err != nil {
		return savedState{}, err
	}
	r := savedState{}
	if err := json.Unmarshal(data, &r); err != nil {
		return savedState{}, fmt.Errorf("%w: %w", errStateFormat, err)
	}
	if r == nil {
		return savedState{}, errStateFormat
	}
	return r, nil
}

// loadState reads dropped.json. While the file is damaged, d.damaged is set and nothing is imported.
func (d *Drop) loadState() {
	r, err := readState(d.note)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.saved = r
	if err == nil {
		d.damaged = nil
		return
	}
	known := d.damaged
	d.damaged = &Status{Name: d.note.Name, Kind: kindEntry, State: "waiting", Since: d.options.Now(), Detail: fmt.Sprintf(
		"the record %s is damaged, and nothing is imported until it is gone: %v: "+
			"compare the drop directory with the store, remove the remaining files of imported bundles, and remove the record",
		d.note.Path(), err)}
	if known != nil && known.Detail == d.damaged.Detail {
		d.damaged.Since = known.Since
		return
	}
	d.log.Error("the record of the drop directory is damaged", zap.String("path", d.note.Path()), zap.Error(err))
}

// saveState writes dropped.json atomically. If the state is empty, it removes the file. The caller
// holds d.mu.
func (d *Drop) saveState() error {
	if d.damaged != nil {
		return errors.New(d.damaged.Detail)
	}
	if len(d.saved) == 0 {
		return d.note.Remove()
	}
	data, err := json.Marshal(d.saved)
	if err != nil {
		return err
	}
	return d.note.Write(data)
}
