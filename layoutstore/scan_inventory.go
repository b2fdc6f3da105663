package layoutstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/fileid"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// sourceInventory is the inventory beside a source, as a scan found it.
type sourceInventory struct {
	stamp     string    // of the inventory's files
	changed   time.Time // the latest modification time of the files
	inventory *inventory.Inventory
	problem   *Problem // why the inventory cannot be used
	trust     *trust   // the signed content; nil without a key
}

// ReadInventory reads the inventory in the directory of a bundle, and its signature. A missing file
// is nil; for a store both are nil. Errors: those of [volume.OpenFiles]; the file system's.
func ReadInventory(dir string) (data, signature []byte, err error) {
	if store, err := journal.ReadView(dir); store != nil || err != nil {
		return nil, nil, err
	}
	files, err := volume.OpenFiles(dir)
	if err != nil {
		return nil, nil, err
	}
	defer files.Close()
	if data, err = readBeside(dir, files, inventory.Name, inventory.MaxSize); err != nil {
		return nil, nil, err
	}
	signature, err = readBeside(dir, files, inventory.SignatureName, maxSignature)
	return data, signature, err
}

// ReadInventoryInBucket is [ReadInventory] for a source in a bucket, which may be an archive.
// dir is the place of the inventory. Errors: the context's; those of the bucket.
func ReadInventoryInBucket(ctx context.Context, name string, open func(bucket.Place) bucket.Reader) (dir string, data, signature []byte, err error) {
	at, err := bucket.ParsePlace(name)
	if err != nil {
		return "", nil, nil, err
	}
	s := &source{}
	s.openObjects(at, open)
	dir = s.bucket.Place()
	if _, _, err = s.objects.List(ctx); err != nil {
		return dir, nil, nil, err
	}
	if _, isStore := s.objects.Files()[journal.StateFile]; isStore {
		return dir, nil, nil, nil
	}
	if data, err = s.objects.ReadObject(ctx, inventory.Name, inventory.MaxSize); err != nil {
		return dir, nil, nil, err
	}
	signature, err = s.objects.ReadObject(ctx, inventory.SignatureName, maxSignature)
	return dir, data, signature, err
}

// maxSignature limits the size of a signature, in bytes. The longest ones, of ECDSA, have 72.
const maxSignature = 1 << 10

// readBeside reads a file of a directory. It returns nil if the file does not exist.
func readBeside(dir string, files *volume.Files, name string, limit int64) ([]byte, error) {
	at, ok := files.At(name)
	if !ok {
		return nil, nil
	}
	data, err := plainfile.Read(filepath.Join(dir, at), limit)
	if errors.Is(err, fs.ErrNotExist) && at != name {
		data, err = plainfile.Read(filepath.Join(dir, name), limit) // a pull has moved it into place
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, name), err)
	}
	return append([]byte{}, data...), nil // never nil
}

// stampOfFile returns a text that changes when a file is written or replaced.
func stampOfFile(info fs.FileInfo) string {
	state, _ := fileid.Of(info)
	return fmt.Sprint(state)
}

// findInventory returns the signed content of a store, or the inventory of any other source.
// Errors: those of readInventory.
func (s *source) findInventory(next *sourceState, dir string, store *journal.View, now time.Time) (*sourceInventory, error) {
	if store != nil {
		if s.key == nil {
			return &sourceInventory{}, nil
		}
		return s.readSigned(dir)
	}
	found, err := s.readInventory(dir, now)
	return s.keepInventory(next, found, err, now)
}

// keepInventory returns found and err, the result of reading an inventory. If the key refuses an
// inventory that changed a moment ago, it returns the last inventory: the files are being replaced.
func (s *source) keepInventory(next *sourceState, found *sourceInventory, err error, now time.Time) (*sourceInventory, error) {
	if last := s.last.inventory; found != nil && isRefusal(err) && s.scanned && s.key == last.key() {
		if age := now.Sub(found.changed); age < s.settle {
			next.again = sooner(next.again, s.settle-age)
			return last, nil
		}
	}
	return found, err
}

// stateWithout returns the state of a source if its inventory cannot be read or the key refuses
// it. A refusal is an error at the first scan.
func (s *source) stateWithout(dir string, err error) (sourceState, error) {
	switch {
	case IsExhausted(err) || isRefusal(err) && !s.scanned:
		return sourceState{}, err
	case isRefusal(err):
		return s.refusedState(dir, err), nil
	}
	return s.failingState(err), nil
}

// readInventory reads the inventory in the directory of a source if its files have changed;
// else it returns the last one. With a key, the error says why the signature is not valid.
func (s *source) readInventory(dir string, now time.Time) (*sourceInventory, error) {
	if s.ignoreInventory {
		return &sourceInventory{}, nil
	}
	files, err := volume.OpenFiles(dir)
	if err != nil {
		return nil, err
	}
	defer files.Close()
	next := &sourceInventory{}
	for _, name := range []string{inventory.Name, inventory.SignatureName} {
		info, err := files.Stat(name)
		if err != nil {
			continue // verifyInventory reports it
		}
		next.stamp += fmt.Sprintf("%s %s;", name, stampOfFile(info))
		if info.ModTime().After(next.changed) && !info.ModTime().After(now) {
			next.changed = info.ModTime()
		}
		if s.opened != nil && info.Mode().IsRegular() {
			s.opened(info)
		}
	}
	return s.verifyInventory(next, dir, func(name string, limit int64) ([]byte, error) { return readBeside(dir, files, name, limit) })
}

// verifyInventory completes next, which has a stamp, with the inventory of a directory or a
// place in a bucket. If the stamp is unchanged, it returns the last inventory instead. read reads
// one of the files. With a key, the error says why the signature is not valid.
func (s *source) verifyInventory(next *sourceInventory, dir string, read func(name string, limit int64) ([]byte, error)) (*sourceInventory, error) {
	if last := s.last.inventory; last != nil && last.stamp == next.stamp && s.key == last.key() && (next.stamp != "" || s.key == nil) {
		return last, nil
	}
	data, err := read(inventory.Name, inventory.MaxSize)
	if err != nil {
		return nil, err
	}
	file := volume.JoinPath(dir, inventory.Name)
	if s.key != nil {
		signature, err := read(inventory.SignatureName, maxSignature)
		if err != nil {
			return nil, err
		}
		if next.inventory, err = s.key.Verified(file, data, signature); err != nil {
			return next, err
		}
		next.trust = newTrust(s.key, next.inventory)
		return next, nil
	}
	if data != nil {
		next.parse(file, data)
	}
	return next, nil
}

// parse parses an inventory without verifying its signature.
func (s *sourceInventory) parse(file string, data []byte) {
	var err error
	if s.inventory, err = inventory.Parse(data); err == nil {
		return
	}
	s.problem = &Problem{Kind: Damaged, Path: file, Reason: err.Error() + ": copy it again, or remove it to read the bundle without it", Err: err}
	if !inventory.IsInventory(data) {
		*s.problem = Problem{Kind: Limited, Path: file, Reason: err.Error() + ": it is ignored", Harmless: true}
	}
}

// key returns the key that has verified the inventory, or nil.
func (s *sourceInventory) key() *inventory.VerifyKey {
	if s == nil || s.trust == nil {
		return nil
	}
	return s.trust.key
}

// compareInventory compares the state of a source with its inventory. archive is the name of
// the archive that is the source, or empty for a directory.
func (s *source) compareInventory(next *sourceState, dir, archive string, now time.Time) error {
	in := next.inventory
	if in.problem != nil {
		next.problems = append(next.problems, *in.problem)
	}
	if in.inventory == nil {
		return nil
	}
	if age := now.Sub(in.changed); s.scanned && age < s.settle {
		next.again = sooner(next.again, s.settle-age) // somebody may still be copying the rest of the bundle
		return nil
	}
	loose := next.looseOrEmpty().layouts
	var present []inventory.File
	var err error
	if s.bucket != nil {
		present = presentObjects(s.objects, loose)
	} else if present, err = presentFiles(dir, in.inventory, loose); err != nil {
		return err
	}
	found := in.inventory.CheckFiles(dir, present)
	if archive != "" {
		found = in.inventory.CheckArchive(dir, archive, present)
	}
	intact := true
	for _, p := range found {
		if next.isWaiting(p.Path) || next.hasReported(p) {
			intact = false
			continue
		}
		if in.trust != nil && p.Kind == Limited {
			p.Harmless = false // unsigned content is not served
		}
		_, isArchive := volume.IsArchive(filepath.Base(p.Path))
		p.TagsUnknown = p.Kind == Incomplete && (isArchive || filepath.Base(p.Path) == "index.json")
		intact = intact && p.Kind == Limited
		next.problems = append(next.problems, p)
	}
	if intact && archive == "" && next.isComplete() {
		next.problems = append(next.problems, missingTags(in.inventory, next, dir)...)
	}
	return nil
}

// isWaiting reports whether the archive at path is still being written.
func (st *sourceState) isWaiting(path string) bool {
	return slices.ContainsFunc(st.archives, func(h *volumeState) bool { return h.status.State == "waiting" && h.status.Path == path })
}

// hasReported reports whether the scan itself has found the missing chunks of p.
func (st *sourceState) hasReported(p Problem) bool {
	if p.Kind != Incomplete || len(p.Chunks) == 0 {
		return false
	}
	covers := func(q Problem) bool {
		return q.Kind == Incomplete && q.Path == p.Path && !q.Suspects && !slices.ContainsFunc(p.Chunks, func(c string) bool { return !slices.Contains(q.Chunks, c) })
	}
	return slices.ContainsFunc(st.problems, covers) ||
		slices.ContainsFunc(st.archives, func(h *volumeState) bool { return slices.ContainsFunc(h.problems, covers) })
}

// isComplete reports whether all volumes were read without a failure.
func (st *sourceState) isComplete() bool {
	if st.failed != nil || slices.ContainsFunc(st.problems, Problem.IsFailure) {
		return false
	}
	return !slices.ContainsFunc(st.volumes(), func(h *volumeState) bool {
		return h.status.State != "ready" || slices.ContainsFunc(h.problems, Problem.IsFailure)
	})
}
