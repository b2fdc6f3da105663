package importer

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// recordSigned records the signed inventories of the bundles in the store, so that a server with
// the key knows what of the store was signed. It runs before the publication: a list of content
// that is still missing does no harm. Whoever reads it, with a key, decides whether the
// signature is good.
func (s *session) recordSigned(ctx context.Context, b *bundle) error {
	for _, source := range b.names {
		data, signature, err := s.signedInventory(ctx, source)
		if err != nil {
			return err
		}
		if data == nil {
			continue
		}
		if err := s.record(data, signature); err != nil {
			return err
		}
	}
	return nil
}

// signedInventory returns the inventory of a bundle and its signature, or nil if there are none or they are malformed.
func (s *session) signedInventory(ctx context.Context, source string) (data, signature []byte, err error) {
	dir, data, signature, err := s.readInventory(ctx, source)
	if err != nil || data == nil || signature == nil {
		return nil, nil, err
	}
	if s.options.VerifyKey != nil {
		if _, err := s.options.VerifyKey.Verified(volume.JoinPath(dir, inventory.Name), data, signature); err != nil {
			return nil, nil, err // it was replaced during the import
		}
	} else if _, err := inventory.Parse(data); err != nil {
		return nil, nil, nil
	}
	return data, signature, nil
}

// readInventory reads the inventory in the directory of a source, or at its place in a bucket, and its
// signature. What is missing is nil.
func (s *session) readInventory(ctx context.Context, source string) (dir string, data, signature []byte, err error) {
	if bucket.IsPlace(source) {
		return layoutstore.ReadInventoryInBucket(ctx, source, s.options.readers())
	}
	dir = source
	if info, err := os.Stat(source); err != nil || !info.IsDir() {
		dir = filepath.Dir(source)
	}
	data, signature, err = layoutstore.ReadInventory(dir)
	return dir, data, signature, err
}

// record writes an inventory and its signature, the signature first: a reader looks for it when
// the inventory is there.
func (s *session) record(data, signature []byte) error {
	name := path.Join(journal.SignedDir, digest.FromBytes(data).Encoded()+".json")
	if err := s.store.MkdirAll(journal.SignedDir); err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{name + path.Ext(inventory.SignatureName), signature}, {name, data}} {
		have, err := fs.ReadFile(s.store.Root().FS(), f.name)
		if err == nil && string(have) == string(f.data) {
			continue
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := s.store.WriteFile(f.name, func(w io.Writer) error {
			_, err := w.Write(f.data)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}
