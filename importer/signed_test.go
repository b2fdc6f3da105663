package importer_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/gather"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// signed makes a tree with one image, and signs it if the key is not nil.
func signed(t *testing.T, path, name string, key *inventory.SigningKey) string {
	t.Helper()
	dir := t.TempDir()
	l := layouttest.New(t, dir).Layout(path)
	l.Tag(l.Image(layouttest.Image{Name: name}), "v1")
	l.Write()
	if key == nil {
		return dir
	}
	var b inventory.Builder
	if _, err := gather.Sources(t.Context(), []string{dir}, gather.Options{Checksums: true}, &b); err != nil {
		t.Fatal(err)
	}
	listed, err := b.Build("test")
	if err != nil {
		t.Fatal(err)
	}
	data, signature, err := key.EncodeSigned(listed)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, inventory.Name), data, 0o644), os.WriteFile(filepath.Join(dir, inventory.SignatureName), signature, 0o644)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// With a key, an import accepts only bundles that are signed with this key. A server with the key
// serves only content that signed bundles brought into the store.
func TestStoreOfSignedBundles(t *testing.T) {
	var keys [2]*inventory.SigningKey
	for n := range keys {
		keys[n] = newSigningKey(t)
	}
	store := filepath.Join(t.TempDir(), "store")
	run := func(bundle string, key *inventory.VerifyKey) error {
		t.Helper()
		i, err := importer.New(importer.Options{Store: store, VerifyKey: key})
		if err != nil {
			t.Fatal(err)
		}
		_, err = i.Import(t.Context(), bundle)
		return err
	}
	served := func(key *inventory.SigningKey) (names []string) {
		t.Helper()
		tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{store}, Roots: []string{""}, VerifyKey: key.Public()})
		if err != nil {
			t.Fatal(err)
		}
		names, _ = tree.Snapshot().Repositories("", -1)
		return names
	}
	var refused *inventory.SignatureError
	if err := run(signed(t, "plain", "plain", nil), keys[0].Public()); !errors.As(err, &refused) || refused.Why != inventory.Unsigned {
		t.Errorf("unsigned: %v", err)
	}
	if err := run(signed(t, "app", "app", keys[0]), keys[1].Public()); !errors.As(err, &refused) || refused.Why != inventory.OtherKey {
		t.Errorf("import of a bundle that is signed with a different key: got error %v, want *SignatureError", err)
	}
	if err := errors.Join(run(signed(t, "plain", "plain", nil), nil), run(signed(t, "app", "app", keys[0]), keys[0].Public()), run(signed(t, "more", "more", keys[0]), nil)); err != nil {
		t.Fatal(err)
	}
	if names := served(keys[0]); len(names) != 2 || names[0] != "app" || names[1] != "more" {
		t.Errorf("served: %q", names)
	}
	if names := served(keys[1]); len(names) != 0 {
		t.Errorf("a server with a different key serves %q, want nothing", names)
	}
}
