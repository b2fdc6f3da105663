package pull

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// publication says how a bundle directory gets its new archives. It is written down
// before the first rename, so that it can be ended after a crash.
type publication struct {
	Place  []string `json:"place"`  // files of the archives directory that take their place
	Remove []string `json:"remove"` // files of the bundle that they stand for
}

func (w *work) journal() string { return filepath.Join(w.path, "publish.json") }

// publish puts the archives that are whole in their place. After it was begun, the
// next pull ends it.
func (w *work) publish(p publication) error {
	data, err := json.Marshal(p)
	if err != nil {
		return err
	}
	temp := w.journal() + ".new"
	if err := writeFile(temp, data); err != nil {
		return err
	}
	if err := syncDir(w.archives()); err != nil {
		return err
	}
	w.reached("publishing")
	if err := os.Rename(temp, w.journal()); err != nil {
		return err
	}
	w.reached("journal")
	if err := syncDir(w.path); err != nil {
		return err
	}
	return w.publishAgain()
}

// publishAgain goes on with a publication that was begun, if one was.
func (w *work) publishAgain() error {
	data, err := os.ReadFile(w.journal())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var p publication
	if err == nil {
		err = json.Unmarshal(data, &p)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", w.journal(), err)
	}
	for _, name := range p.Place {
		err := os.Rename(filepath.Join(w.archives(), filepath.Base(name)), filepath.Join(w.dir, filepath.Base(name)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // renamed before
			return err
		}
		w.reached("placed")
	}
	for _, name := range p.Remove {
		if err := os.Remove(filepath.Join(w.dir, filepath.Base(name))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := syncDir(w.dir); err != nil {
		return err
	}
	return os.Remove(w.journal())
}

// replaces are the files of the bundle that belong to an archive and are none of its
// new ones: the old chunks of one that is whole now, or the other way round, and
// checksums that speak of other bytes.
func replaces(dir, archive string, now []string) (old []string, err error) {
	all, err := os.ReadDir(dir)
	for _, e := range all {
		of, ok := volume.IsArchive(strings.TrimSuffix(e.Name(), sumName("")))
		if ok && of == archive && !slices.Contains(now, e.Name()) {
			old = append(old, e.Name())
		}
	}
	return old, err
}
