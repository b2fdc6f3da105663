package pull_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/pull/pulltest"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

func inventoryOf(t *testing.T, dir string) *inventory.Inventory {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, inventory.Name))
	layouttest.Try(t, err)
	i, err := inventory.Parse(data)
	layouttest.Try(t, err)
	return i
}

// gathered returns a new inventory of a directory, made only from the directory's other files.
func gathered(t *testing.T, dir string) *inventory.Inventory {
	t.Helper()
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{dir}, Indexes: []string{}, IgnoreInventory: true})
	layouttest.Try(t, err)
	var b inventory.Builder
	s := tree.Snapshot()
	layouttest.Try(t, s.Inventory(t.Context(), &b, s.Paths()))
	layouttest.Try(t, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, path)
		switch {
		case err != nil:
			return err
		case e.IsDir() && (strings.HasPrefix(name, ".") && name != "." || e.Name() == "blobs"):
			return filepath.SkipDir
		case e.IsDir() || name == inventory.Name || name == inventory.SignatureName:
			return nil
		}
		data, err := os.ReadFile(path)
		b.AddFile(inventory.File{Name: filepath.ToSlash(name), Size: int64(len(data)), SHA256: digest.FromBytes(data).Encoded()})
		return err
	}))
	i, err := b.Build("test")
	layouttest.Try(t, err)
	return i
}

// checkInventory fails the test unless the inventory in a directory describes the directory's
// content.
func checkInventory(t *testing.T, dir string) {
	t.Helper()
	got, want := inventoryOf(t, dir), gathered(t, dir)
	if diff := cmp.Diff(want.Files, got.Files); diff != "" {
		t.Errorf("files:\n%s", diff)
	}
	if diff := cmp.Diff(want.Repositories, got.Repositories); diff != "" {
		t.Errorf("repositories:\n%s", diff)
	}
	if diff := cmp.Diff(want.Blobs, got.Blobs); diff != "" {
		t.Errorf("blobs:\n%s", diff)
	}
	if got.Bundle != want.Bundle || got.CountTags() == 0 {
		t.Errorf("id of the inventory = %s, want %s; number of tags = %d, want at least 1", got.Bundle, want.Bundle, got.CountTags())
	}
}

// The inventory of a bundle lists everything in the bundle's directory, in any form, including
// content of earlier pulls.
func TestInventoryListsTheDirectory(t *testing.T) {
	older, newer := versions(t)
	for name, f := range map[string]form{"archives": {}, "chunks": {chunk: 4000}, "checksums": {chunk: 5000, gost: true}, "a tree": {tree: true}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			pull := func(f form, r *registrytest.Registry, repositories ...string) {
				t.Helper()
				pulltest.Run(t, f.options(t, r, dir, repositories...))
				checkInventory(t, dir)
			}
			pull(f, older, "app", "base")
			before := inventoryOf(t, dir)
			pull(f, older, "app", "base")
			if diff := cmp.Diff(before, inventoryOf(t, dir)); diff != "" {
				t.Errorf("a second pull of the same bundle changed the inventory (-before +after), want it unchanged:\n%s", diff)
			}
			pull(f, older, "kept") // the pull adds this repository to those of the earlier pulls
			pull(form{}, newer, "app", "more")
			pull(form{tree: true}, newer, "kept", "base")
		})
	}
}

// If an archive of an earlier pull is incomplete, the next pull succeeds, and its inventory omits
// this archive.
func TestInventoryOmitsBrokenArchives(t *testing.T) {
	older, _ := versions(t)
	dir := t.TempDir()
	pulltest.Run(t, form{chunk: 4000}.options(t, older, dir, "app"))
	layouttest.Try(t, os.Remove(filepath.Join(dir, "app.tar.0001.chunk")))
	pulltest.Run(t, form{}.options(t, older, dir, "base"))
	i := inventoryOf(t, dir)
	if len(i.Files) != 1 || i.Files[0].Name != "base.tar" || len(i.Repositories) != 1 {
		t.Errorf("inventory = %+v, want only the file base.tar and its repository", i)
	}
}

func newKey(t *testing.T) *inventory.SigningKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	layouttest.Try(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	layouttest.Try(t, err)
	key, err := inventory.ParseSigningKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	layouttest.Try(t, err)
	return key
}

// A pull keeps the signature only if the inventory does not change.
func TestSignatureOfUnchangedBundle(t *testing.T) {
	older, newer := versions(t)
	for name, f := range map[string]form{"archives": {}, "a tree": {tree: true}} {
		t.Run(name, func(t *testing.T) {
			dir, key := t.TempDir(), newKey(t)
			run := func(r *registrytest.Registry, key *inventory.SigningKey) *pull.Report {
				o := f.options(t, r, dir, "app", "base")
				o.SignKey = key
				return pulltest.Run(t, o)
			}
			signed := func() (data, signature []byte) {
				t.Helper()
				data, signature, err := layoutstore.ReadInventory(dir)
				layouttest.Try(t, err)
				return data, signature
			}
			run(older, key)
			data, signature := signed()
			if _, err := key.Public().Verified(dir, data, signature); err != nil {
				t.Error(err)
			}
			run(older, key)
			run(older, nil) // without a key, the unchanged bundle keeps its signature
			if again, same := signed(); !bytes.Equal(data, again) || !bytes.Equal(signature, same) {
				t.Error("a pull of an unchanged bundle changed the inventory or its signature, want both unchanged")
			}
			other := newKey(t)
			run(older, other)
			data, signature = signed()
			if _, err := other.Public().Verified(dir, data, signature); err != nil {
				t.Error(err)
			}
			run(newer, nil)
			data, signature = signed()
			if i, err := inventory.Parse(data); err != nil || i.Key != "" || signature != nil {
				t.Errorf("inventory of the changed bundle: error %v, signature %x; want neither a key nor a signature", err, signature)
			}
			run(newer, key)
			data, signature = signed()
			if _, err := key.Public().Verified(dir, data, signature); err != nil {
				t.Error(err)
			}
			if names, err := filepath.Glob(filepath.Join(dir, "*.sig")); err != nil || !slices.Equal(names, []string{filepath.Join(dir, inventory.SignatureName)}) {
				t.Error(names, err)
			}
		})
	}
}
