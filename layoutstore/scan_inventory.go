package layoutstore

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/fileid"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// sourceInventory is the inventory beside a source, as a scan found it.
type sourceInventory struct {
	stamp     string    // of the files that it is read from
	changed   time.Time // the latest modification of them
	inventory *inventory.Inventory
	problem   *Problem // why it cannot be used
	trust     *trust   // what is signed; nil if no key is asked for
}

// ReadInventory reads the inventory in the directory of a bundle and, if there is one, its
// signature. What is missing is nil; in a store both are. Errors: those of [volume.OpenFiles]; the file system's.
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

// maxSignature limits the size of a signature, in bytes. The longest is that of ECDSA, with 72.
const maxSignature = 1 << 10

// readBeside reads a file of a directory. It returns nil if the file does not exist.
func readBeside(dir string, files *volume.Files, name string, limit int64) ([]byte, error) {
	at, ok := files.At(name)
	if !ok {
		return nil, nil
	}
	data, err := plainfile.Read(filepath.Join(dir, at), limit)
	if errors.Is(err, fs.ErrNotExist) && at != name {
		data, err = plainfile.Read(filepath.Join(dir, name), limit) // it was moved into place
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, name), err)
	}
	return append([]byte{}, data...), nil // never nil
}

// stampOfFile changes when a file is written or replaced.
func stampOfFile(info fs.FileInfo) string {
	state, _ := fileid.Of(info)
	return fmt.Sprint(state)
}

// findInventory finds what is signed of a store, or the inventory of another source. While files
// are being replaced, what was signed before counts.
func (s *source) findInventory(next *sourceState, dir string, store *journal.View, now time.Time) (*sourceInventory, error) {
	if store != nil {
		if s.key == nil {
			return &sourceInventory{}, nil
		}
		return s.readSigned(dir)
	}
	found, err := s.readInventory(dir, now)
	if last := s.last.inventory; found != nil && isRefusal(err) && s.scanned && s.key == last.key() {
		if age := now.Sub(found.changed); age < s.settle {
			next.scanAgain(s.settle - age)
			return last, nil
		}
	}
	return found, err
}

// stateWithout returns the state of a source of which the inventory cannot be read or is refused. It
// is an error at the first scan.
func (s *source) stateWithout(dir string, err error) (sourceState, error) {
	switch {
	case IsExhausted(err) || isRefusal(err) && !s.scanned:
		return sourceState{}, err
	case isRefusal(err):
		return s.refusedState(dir, err), nil
	}
	return s.failingState(err), nil
}

// readInventory reads the inventory in the directory of a source again, if its files have
// changed. With a key, the error says why the key does not vouch for the source.
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
			continue // the reading reports it
		}
		next.stamp += fmt.Sprintf("%s %s;", name, stampOfFile(info))
		if info.ModTime().After(next.changed) && !info.ModTime().After(now) {
			next.changed = info.ModTime()
		}
		if s.opened != nil && info.Mode().IsRegular() {
			s.opened(info)
		}
	}
	if last := s.last.inventory; last != nil && last.stamp == next.stamp && s.key == last.key() && (next.stamp != "" || s.key == nil) {
		return last, nil
	}
	data, err := readBeside(dir, files, inventory.Name, inventory.MaxSize)
	if err != nil {
		return nil, err
	}
	if s.key != nil {
		signature, err := readBeside(dir, files, inventory.SignatureName, maxSignature)
		if err != nil {
			return nil, err
		}
		if next.inventory, err = s.key.Verified(filepath.Join(dir, inventory.Name), data, signature); err != nil {
			return next, err
		}
		next.trust = newTrust(s.key, next.inventory)
		return next, nil
	}
	if data != nil {
		next.parse(filepath.Join(dir, inventory.Name), data)
	}
	return next, nil
}

// parse parses an inventory that nobody vouches for.
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

// key returns the key that vouches for the inventory.
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
		next.scanAgain(s.settle - age) // the rest of the bundle may still be copied
		return nil
	}
	var loose []*indexedLayout
	if next.loose != nil {
		loose = next.loose.layouts
	}
	found, err := checkFiles(dir, archive, in.inventory, loose)
	if err != nil {
		return err
	}
	intact := true
	for _, p := range found {
		if next.isWaiting(p.Path) || next.hasReported(p) {
			intact = false
			continue
		}
		if in.trust != nil && p.Kind == Limited {
			p.Harmless = false // what is not signed is not served
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

func (st *sourceState) scanAgain(after time.Duration) {
	if st.again == 0 || after < st.again {
		st.again = after
	}
}

// isWaiting reports whether an archive is still being written.
func (st *sourceState) isWaiting(path string) bool {
	return slices.ContainsFunc(st.archives, func(h *volumeState) bool { return h.status.State == "waiting" && h.status.Path == path })
}

// hasReported reports whether the scan has found the same missing chunks by itself.
func (st *sourceState) hasReported(p Problem) bool {
	if p.Kind != Incomplete || len(p.Chunks) == 0 {
		return false
	}
	all := slices.Clone(st.problems)
	for _, h := range st.archives {
		all = append(all, h.problems...)
	}
	return slices.ContainsFunc(all, func(q Problem) bool {
		return q.Kind == Incomplete && q.Path == p.Path && !q.Suspects && !slices.ContainsFunc(p.Chunks, func(c string) bool { return !slices.Contains(q.Chunks, c) })
	})
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

// CheckInventory compares the files in the directory of a bundle with its inventory, without
// reading them. archive limits it to one archive; it may be empty. Without an inventory that can
// be read there are no problems. Errors: those of [ReadInventory].
func CheckInventory(dir, archive string) ([]Problem, error) {
	data, _, err := ReadInventory(dir)
	if err != nil || data == nil {
		return nil, err
	}
	listed, err := inventory.Parse(data)
	if err != nil {
		return nil, nil // a scan reports it
	}
	return checkFiles(dir, archive, listed, nil)
}

// checkFiles compares the files of a directory, of which loose are the layouts, with an
// inventory.
func checkFiles(dir, archive string, listed *inventory.Inventory, loose []*indexedLayout) ([]Problem, error) {
	present, err := presentFiles(dir, listed, loose)
	switch {
	case err != nil:
		return nil, err
	case archive != "":
		return listed.CheckArchive(dir, archive, present), nil
	}
	return listed.CheckFiles(dir, present), nil
}

// presentFiles returns the files of a source that an inventory can list: archives, chunks, the
// indexes of the tree, and others that are listed.
func presentFiles(dir string, listed *inventory.Inventory, loose []*indexedLayout) (all []inventory.File, err error) {
	files, err := volume.OpenFiles(dir)
	if err != nil {
		return nil, err
	}
	defer files.Close()
	sizes := map[string]int64{}
	for _, l := range loose {
		sizes[path.Join(l.path, "index.json")] = l.indexFile.Size()
	}
	add := func(name string) {
		if info, err := files.Stat(name); err == nil && info.Mode().IsRegular() {
			sizes[name] = info.Size()
		}
	}
	for _, name := range files.Names() {
		if _, ok := volume.IsArchive(name); ok && !strings.HasPrefix(name, ".") {
			add(name)
		}
	}
	for _, f := range listed.Files {
		if _, ok := sizes[f.Name]; !ok {
			add(f.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(sizes)) {
		all = append(all, inventory.File{Name: name, Size: sizes[name]})
	}
	return all, nil
}

// missingTags returns the listed tags that a source does not have, or that lead elsewhere.
func missingTags(listed *inventory.Inventory, st *sourceState, dir string) (problems []Problem) {
	type tagKey struct{ path, tag string }
	have := map[tagKey]*entry{}
	at := map[string]*indexedLayout{} // the last layout of each path
	for _, h := range st.volumes() {
		for _, l := range h.layouts {
			at[l.path] = l
			for i := range l.index.entries {
				if e := &l.index.entries[i]; e.tag != "" {
					have[tagKey{l.path, e.tag}] = e
				}
			}
		}
	}
	for _, r := range listed.Repositories {
		for _, t := range r.Tags {
			e := have[tagKey{r.Path, t.Name}]
			p := Problem{Kind: Damaged, Path: dir, Repository: r.Path, Layout: r.Path, Tags: tagList(t.Name), Digest: t.Digest}
			if l := at[r.Path]; l != nil {
				p = l.where().problem(p)
			}
			switch {
			case e == nil:
				p.Reason = inventory.Name + " lists this tag, and no index has it: copy the bundle again"
			case e.digest() != t.Digest:
				p.Reason = fmt.Sprintf("the tag leads to %s, and in %s to this digest: copy the bundle again", e.digest(), inventory.Name)
			default:
				continue
			}
			if problems = appendBounded(problems, p); len(problems) > maxProblems {
				return problems
			}
		}
	}
	return problems
}

// readSigned reads the signed inventories that imports have recorded in a store. Those that
// the key did not sign do not count.
func (s *source) readSigned(store string) (*sourceInventory, error) {
	names, stamp, err := listSigned(store)
	if err != nil {
		return nil, err
	}
	if last := s.last.inventory; last != nil && last.stamp == stamp && s.key == last.key() {
		return last, nil
	}
	next := &sourceInventory{stamp: stamp}
	var all []*inventory.Inventory
	for _, name := range names {
		file := filepath.Join(store, journal.SignedDir, name)
		data, err := plainfile.Read(file, inventory.MaxSize)
		if err != nil {
			return nil, err
		}
		signature, err := plainfile.Read(file+signatureSuffix, maxSignature)
		if errors.Is(err, fs.ErrNotExist) {
			continue // an import was killed before it wrote it
		}
		if err != nil {
			return nil, err
		}
		if i, err := s.key.Verified(file, data, signature); err == nil {
			all = append(all, i)
		}
	}
	next.trust = newTrust(s.key, all...)
	return next, nil
}

const signatureSuffix = ".sig"

// listSigned lists the inventories in a store. The stamp changes when one of them does.
func listSigned(store string) (names []string, stamp string, err error) {
	root, err := plainfile.OpenRoot(filepath.Join(store, journal.SignedDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", err
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, "", err
	}
	var b strings.Builder
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // replaced meanwhile: the next scan sees it
		}
		fmt.Fprintf(&b, "%s %s;", e.Name(), stampOfFile(info))
		if path.Ext(e.Name()) == ".json" {
			names = append(names, e.Name())
		}
	}
	return names, b.String(), nil
}

// refusedState returns the state of a source that the key does not vouch for: nothing of it is
// served.
func (s *source) refusedState(dir string, err error) sourceState {
	return sourceState{
		dirs:     []string{dir},
		problems: []Problem{{Kind: Damaged, Path: dir, Reason: err.Error() + ": nothing of it is served", Err: err, TagsUnknown: true}},
		archives: []*volumeState{{status: SourceStatus{Path: s.path, Kind: s.kind(), State: "failing", Detail: err.Error()}}},
	}
}

// isRefusal reports whether an error says that a key does not vouch for a source.
func isRefusal(err error) bool {
	return errors.As(err, new(*inventory.SignatureError)) || errors.Is(err, inventory.ErrFormat)
}
