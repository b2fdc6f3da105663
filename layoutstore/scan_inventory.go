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

// sourceInventory is the inventory that a scan found beside a source.
type sourceInventory struct {
	stamp     string    // identifies the state of the inventory's files
	changed   time.Time // latest modification time of these files
	inventory *inventory.Inventory
	problem   *Problem // why the inventory cannot be used, or nil
	trust     *trust   // signed content; nil if the source has no key
}

// ReadInventory reads the inventory in the directory of a bundle, and its signature. The result for
// a missing file is nil. For a store, both are nil. The error comes from [volume.OpenFiles] or from
// the file system.
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

// ReadInventoryInBucket is like [ReadInventory], but for a source in a bucket, which may be an
// archive. dir is the place that contains the inventory. The error is the context's or the
// bucket's.
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

// maxSignature is the maximum size of a signature file in bytes. ECDSA needs up to 72 bytes.
const maxSignature = 1 << 10

// readBeside reads a file in a directory. It returns nil if the file does not exist.
func readBeside(dir string, files *volume.Files, name string, limit int64) ([]byte, error) {
	at, ok := files.At(name)
	if !ok {
		return nil, nil
	}
	data, err := plainfile.Read(filepath.Join(dir, at), limit)
	if errors.Is(err, fs.ErrNotExist) && at != name {
		data, err = plainfile.Read(filepath.Join(dir, name), limit) // a pull has moved the file into place meanwhile
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, name), err)
	}
	return append([]byte{}, data...), nil // never nil
}

// stampOfFile returns a text that changes when the file is written or replaced.
func stampOfFile(info fs.FileInfo) string {
	state, _ := fileid.Of(info)
	return fmt.Sprint(state)
}

// findInventory returns the inventory of a source. For a store, it returns what the signed inventories
// of its imports list, but only if the source has a key. The errors are those of readInventory.
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

// keepInventory returns found and err, which are the result of reading an inventory. As an
// exception, it returns the last inventory if the key refuses an inventory that has just changed,
// because a program is probably replacing its files.
func (s *source) keepInventory(next *sourceState, found *sourceInventory, err error, now time.Time) (*sourceInventory, error) {
	if last := s.last.inventory; found != nil && isRefusal(err) && s.scanned && s.key == last.key() {
		if age := now.Sub(found.changed); age < s.settle {
			next.again = sooner(next.again, s.settle-age)
			return last, nil
		}
	}
	return found, err
}

// stateWithout returns the state of a source whose inventory cannot be read, or is refused by the
// key. At the first scan, a refusal is an error.
func (s *source) stateWithout(dir string, err error) (sourceState, error) {
	switch {
	case IsExhausted(err) || isRefusal(err) && !s.scanned:
		return sourceState{}, err
	case isRefusal(err):
		return s.refusedState(dir, err), nil
	}
	return s.failingState(err), nil
}

// readInventory reads the inventory in the directory of a source. If its files have not changed, it
// returns the last inventory. The error may explain why the signature is not valid.
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
			continue // verifyInventory reports the missing file
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

// verifyInventory reads the inventory in dir, and verifies it if the source has a key. next
// contains the stamp of the files, and receives the result. If the stamp is unchanged,
// verifyInventory returns the last inventory instead. read reads a file. The error may explain why
// the signature is not valid.
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

// parse parses an inventory. It does not verify the signature.
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

// key returns the key that verified the inventory, or nil if there was no key.
func (s *sourceInventory) key() *inventory.VerifyKey {
	if s == nil || s.trust == nil {
		return nil
	}
	return s.trust.key
}

// compareInventory compares the state of a source with its inventory, and adds problems. If the
// source is an archive, archive is its name; otherwise it is empty.
func (s *source) compareInventory(next *sourceState, dir, archive string, now time.Time) error {
	in := next.inventory
	if in.problem != nil {
		next.problems = append(next.problems, *in.problem)
	}
	if in.inventory == nil {
		return nil
	}
	if age := now.Sub(in.changed); s.scanned && age < s.settle {
		next.again = sooner(next.again, s.settle-age) // the rest of the bundle may not have been copied yet
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
	found := in.inventory.CheckFiles("", present)
	if archive != "" {
		found = in.inventory.CheckArchive("", archive, present)
	}
	intact := true
	for _, p := range found {
		p.Path = volume.JoinPath(dir, filepath.ToSlash(p.Path)) // dir may be a place in a bucket
		if next.isWaiting(p.Path) || next.hasReported(p) {
			intact = false
			continue
		}
		if in.trust != nil && p.Kind == Limited {
			p.Harmless = false // it is not harmless: unsigned content is not served
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

// isWaiting reports whether the archive at path may still be written, and so was not scanned yet.
func (st *sourceState) isWaiting(path string) bool {
	return slices.ContainsFunc(st.archives, func(h *volumeState) bool { return h.status.State == "waiting" && h.status.Path == path })
}

// hasReported reports whether the scan has already reported the missing chunks in p.
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

// isComplete reports whether all volumes of the source were read without a failure.
func (st *sourceState) isComplete() bool {
	if st.failed != nil || slices.ContainsFunc(st.problems, Problem.IsFailure) {
		return false
	}
	return !slices.ContainsFunc(st.volumes(), func(h *volumeState) bool {
		return h.status.State != "ready" || slices.ContainsFunc(h.problems, Problem.IsFailure)
	})
}
