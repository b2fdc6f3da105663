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

// recordSigned writes the signed inventories of the bundles to the store. A server that has the key
// then knows which content was signed, and checks the signatures itself. recordSigned runs before
// the publication, because an inventory may list content that is not in the store yet.
func (s *session) recordSigned(ctx context.Context, b *bundle) error {
	all, err := s.signedInventories(ctx, b)
	for _, x := range all {
		if err == nil {
			err = s.record(x)
		}
	}
	return err
}

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

// signedInventory returns the inventory of a bundle and its signature. Both are nil if one of them
// is missing, or if the inventory is malformed. It fails if the key did not sign the inventory, or
// if reading fails.
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

// readInventory reads the inventory of a source and its signature, from a directory or a bucket. If
// a file is missing, its content is nil.
func (s *session) readInventory(ctx context.Context, source string) (dir string, data, signature []byte, err error) {
	if bucket.IsPlace(source) {
		return layoutstore.ReadInventoryInBucket(ctx, source, s.options.readers())
	}
	dir = dirOf(source)
	data, signature, err = layoutstore.ReadInventory(dir)
	return dir, data, signature, err
}

// record writes the signature of an inventory and then the inventory, because readers expect a
// signature beside each inventory.
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
