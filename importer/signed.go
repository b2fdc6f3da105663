package importer

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// recordSigned writes the signed inventories of the bundles to the store, so that a server with
// the key can tell which content was signed. It runs before the publication: an inventory may list
// content that is still missing. Readers check the signature with their own key.
func (s *session) recordSigned(ctx context.Context, b *bundle) error {
	all, err := s.signedInventories(ctx, b)
	for _, x := range all {
		if err == nil {
			err = s.record(x)
		}
	}
	return err
}

// signedInventories returns the signed inventories of the bundles.
func (s *session) signedInventories(ctx context.Context, b *bundle) (all []publish.Signed, err error) {
	for _, source := range b.names {
		data, signature, err := s.signedInventory(ctx, source)
		if err != nil {
			return nil, err
		}
		if data != nil {
			all = append(all, publish.Signed{Inventory: data, Signature: signature})
		}
	}
	return all, nil
}

// signedInventory returns the inventory of a bundle and its signature, or nil if one is missing or
// the inventory is malformed. The error is that of the key, or of reading.
func (s *session) signedInventory(ctx context.Context, source string) (data, signature []byte, err error) {
	dir, data, signature, err := s.readInventory(ctx, source)
	if err != nil || data == nil || signature == nil {
		return nil, nil, err
	}
	if s.options.VerifyKey != nil {
		if _, err := s.options.VerifyKey.Verified(volume.JoinPath(dir, inventory.Name), data, signature); err != nil {
			return nil, nil, err // the inventory was replaced during the import
		}
	} else if _, err := inventory.Parse(data); err != nil {
		return nil, nil, nil
	}
	return data, signature, nil
}

// readInventory reads the inventory in the directory of a source, or at its place in a bucket, and its
// signature. A missing file is nil.
func (s *session) readInventory(ctx context.Context, source string) (dir string, data, signature []byte, err error) {
	if bucket.IsPlace(source) {
		return layoutstore.ReadInventoryInBucket(ctx, source, s.options.readers())
	}
	dir = dirOf(source)
	data, signature, err = layoutstore.ReadInventory(dir)
	return dir, data, signature, err
}

// record writes an inventory and its signature, the signature first: readers expect it beside each
// inventory.
func (s *session) record(x publish.Signed) error {
	name := path.Join(journal.SignedDir, digest.FromBytes(x.Inventory).Encoded()+".json")
	if err := s.store.MkdirAll(journal.SignedDir); err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{name + path.Ext(inventory.SignatureName), x.Signature}, {name, x.Inventory}} {
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
