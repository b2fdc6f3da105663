package importer

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

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// finish takes a bundle out of the drop directory, into a directory there or for
// good. One that stays nevertheless, as on a disk that cannot be written, is
// remembered, so that it is not read again.
func (d *Drop) finish(ctx context.Context, it *item, to string, reason func(dir string) error) {
	it.settled = true
	if d.changedSince(ctx, it) {
		it.identity, it.settled = "", false // what was added meanwhile is another bundle
		return
	}
	err := d.moveOut(it, to, reason)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.log.Warn("a bundle stays in the drop directory", zap.String("bundle", it.name), zap.Error(err))
		d.record[it.name] = recorded{it.identity, it.status}
		if err := d.record.write(d.importer.options.Store); err != nil {
			d.log.Warn("a bundle will be read again after a restart", zap.String("bundle", it.name), zap.Error(err))
		}
		return
	}
	if to == "failed" {
		d.log.Info("the bundle lies with those that were refused, and the reason beside it", zap.String("bundle", it.name), zap.String("directory", filepath.Join(d.Dir, to)))
	}
	delete(d.items, it.name)
	if d.history = append([]Dropped{it.status}, d.history...); len(d.history) > maxHistory {
		d.history = d.history[:maxHistory]
	}
}

// maxHistory is how many bundles are remembered that went.
const maxHistory = 100

// changedSince says whether a bundle was written to while it was imported.
func (d *Drop) changedSince(ctx context.Context, it *item) bool {
	if it.dir {
		now := candidate{path: it.path}
		_, err := now.walk(ctx)
		return err != nil || now.identity != it.identity
	}
	found, err := volume.FindArchives(d.Dir)
	return err != nil || !slices.ContainsFunc(found.Sets, func(s volume.Set) bool { return s.Name == it.name && s.Identity() == it.identity })
}

// moveOut moves the files of a bundle, or removes them.
func (d *Drop) moveOut(it *item, to string, reason func(dir string) error) error {
	if to == "done" && d.Remove {
		var failed error
		for _, name := range it.files {
			failed = errors.Join(failed, os.RemoveAll(filepath.Join(d.Dir, name)))
		}
		return failed
	}
	dir, err := d.freeDir(to, it)
	if err != nil {
		return err
	}
	if reason != nil {
		if err := reason(dir); err != nil {
			return err
		}
	}
	var failed error
	for _, name := range it.files {
		err := os.Rename(filepath.Join(d.Dir, name), filepath.Join(dir, name))
		if !errors.Is(err, fs.ErrNotExist) { // somebody else took it
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

// freeDir makes the directory that a bundle goes to: where one of its name is there
// already, the first of to/2, to/3 and so on that has none.
func (d *Drop) freeDir(to string, it *item) (string, error) {
	for n := 1; ; n++ {
		dir := filepath.Join(d.Dir, to)
		if n > 1 {
			dir = filepath.Join(dir, fmt.Sprint(n))
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return "", err
		}
		taken := false
		for _, name := range it.files {
			if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
				taken = true
			}
		}
		if !taken {
			return dir, nil
		}
	}
}

// reasonFile is what stands in NAME.reason.json.
type reasonFile struct {
	Name  string                `json:"name"`
	Time  time.Time             `json:"time"`
	Error string                `json:"error"`
	Gaps  []layoutstore.Problem `json:"gaps"`
}

func writeReason(dir, name string, now time.Time, gap *GapError) error {
	data, err := json.MarshalIndent(reasonFile{name, now.UTC(), gap.Error(), gap.Gaps}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name+".reason.json"), append(data, '\n'), 0o644)
}

// record remembers the bundles that stay in the drop directory though nothing more
// is to be done with them, by name.
type record map[string]recorded

type recorded struct {
	Identity string  `json:"identity"`
	Status   Dropped `json:"status"`
}

// recordFile is where the record is kept, below the store.
const recordFile = layoutstore.StoreDir + "/dropped.json"

// readRecord reads the record of a store. Without one nothing is lost but time.
func readRecord(store string) record {
	r := record{}
	data, err := os.ReadFile(filepath.Join(store, recordFile))
	if err != nil || json.Unmarshal(data, &r) != nil || r == nil {
		return record{}
	}
	return r
}

func (r record) write(store string) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	name := filepath.Join(store, recordFile)
	if err := os.WriteFile(name+".tmp", data, 0o644); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}
