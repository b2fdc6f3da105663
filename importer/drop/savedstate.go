package drop

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/importer/publish"
)

// savedState is what outlives a process, in dropped.json: the bundles that stay in the drop
// directory though nothing more is to be done with them, by the keys of their candidates,
// and those that are being moved out or removed.
type savedState map[string]savedBundle

type savedBundle struct {
	Identity string `json:"identity"`
	Status   Status `json:"status"`
	// Leaving is set while its files are being moved or removed.
	Leaving *savedMove `json:"leaving,omitempty"`
}

// maxSavedState bounds the saved state, in bytes: the files of the largest directory fit in.
const maxSavedState = 1 << 30

// errStateForm says that a saved state is not what this program writes.
var errStateForm = errors.New("it is not a record of a drop directory")

// readState reads a saved state; without a file it is empty. A damaged one
// is an error, as nobody knows then which bundles are to be taken out.
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
		return savedState{}, fmt.Errorf("%w: %w", errStateForm, err)
	}
	if r == nil {
		return savedState{}, errStateForm
	}
	return r, nil
}

// loadState reads the saved state. While it is damaged nothing is imported.
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
			"compare the drop directory with the store, take out what remains of imported bundles, and remove the record",
		d.note.Path(), err)}
	if known != nil && known.Detail == d.damaged.Detail {
		d.damaged.Since = known.Since
		return
	}
	d.log.Error("the record of the drop directory is damaged", zap.String("path", d.note.Path()), zap.Error(err))
}

// saveState writes the state, and removes the file where there is nothing to
// remember. Either the old state or the new one survives whenever the machine stops.
// The caller holds d.mu.
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
