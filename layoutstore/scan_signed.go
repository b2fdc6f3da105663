package layoutstore

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// readSigned reads the signed inventories that imports have recorded in a store. It ignores
// inventories that the key did not sign.
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
			continue // an import ended before it wrote the signature
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

// listSigned lists the signed inventories in a store. stamp changes if one of their files changes.
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
			continue // the file was just replaced; the next scan finds the new one
		}
		fmt.Fprintf(&b, "%s %s;", e.Name(), stampOfFile(info))
		if path.Ext(e.Name()) == ".json" {
			names = append(names, e.Name())
		}
	}
	return names, b.String(), nil
}

// refusedState returns the state of a source without a valid signature: nothing in it is served.
func (s *source) refusedState(dir string, err error) sourceState {
	return s.emptyState("failing", err, Problem{Kind: Damaged, Path: dir, Reason: err.Error() + ": nothing in this source is served", Err: err, TagsUnknown: true}, dir)
}

// isRefusal reports whether an error means that a source has no valid signature.
func isRefusal(err error) bool {
	return errors.As(err, new(*inventory.SignatureError)) || errors.Is(err, inventory.ErrFormat)
}
