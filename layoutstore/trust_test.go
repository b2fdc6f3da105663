package layoutstore_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

func newSigningKey(t *testing.T) *inventory.SigningKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	layouttest.Try(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	layouttest.Try(t, err)
	key, err := inventory.ParseSigningKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	layouttest.Try(t, err)
	return key
}

// signTree writes a signed inventory of a tree into its directory.
func signTree(t *testing.T, dir string, key *inventory.SigningKey) {
	t.Helper()
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{dir}, Indexes: []string{}, IgnoreInventory: true})
	layouttest.Try(t, err)
	var b inventory.Builder
	s := tree.Snapshot()
	layouttest.Try(t, s.Inventory(t.Context(), &b, s.Paths()))
	for _, at := range s.Paths() {
		data, err := os.ReadFile(filepath.Join(dir, at, "index.json"))
		layouttest.Try(t, err)
		b.AddFile(inventory.File{Name: filepath.ToSlash(filepath.Join(at, "index.json")), Size: int64(len(data))})
	}
	listed, err := b.Build("test")
	layouttest.Try(t, err)
	data, signature, err := key.EncodeSigned(listed)
	layouttest.Try(t, err)
	layouttest.Try(t, os.WriteFile(filepath.Join(dir, inventory.Name), data, 0o644))
	layouttest.Try(t, os.WriteFile(filepath.Join(dir, inventory.SignatureName), signature, 0o644))
}

// With a key, no unsigned repository, tag, manifest or blob is served, even if it is added later.
func TestOnlySignedContentIsServed(t *testing.T) {
	dir, key := t.TempDir(), newSigningKey(t)
	made := layouttest.New(t, dir)
	app := made.Layout("app")
	one := app.Image(layouttest.Image{Name: "one"})
	app.Tag(one, "v1")
	app.Write()
	signTree(t, dir, key)
	tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{dir}, Roots: []string{""}, VerifyKey: key.Public()})
	layouttest.Try(t, err)
	repo, err := tree.Snapshot().Repository("app")
	layouttest.Try(t, err)
	if _, err := repo.Manifest(t.Context(), one.Digest); err != nil {
		t.Fatal(err)
	}
	generation := tree.Snapshot().Generation()
	if change, err := tree.Refresh(t.Context()); err != nil || change.Changed || change.Generation != generation {
		t.Errorf("Refresh without a change = %+v, error %v; want Changed = false, the same generation and no error", change, err)
	}

	evil := app.Image(layouttest.Image{Name: "evil"})
	app.Tag(evil, "v1")
	app.Tag(one, "v2")
	app.Tag(evil, "latest")
	stray := app.Blob("application/octet-stream", []byte("stray"))
	app.Write()
	other := made.Layout("other")
	other.Tag(one, "v1")
	other.Write()
	if _, err := tree.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := tree.Snapshot()
	if names, _ := s.Repositories("", -1); len(names) != 1 {
		t.Errorf("got the repositories %q, want only app", names)
	}
	repo, err = s.Repository("app")
	layouttest.Try(t, err)
	if tags, _ := repo.Tags("", -1); len(tags) > 1 || len(tags) == 1 && tags[0] != "v1" {
		t.Errorf("got the tags %q, want no tag but v1", tags)
	}
	if _, err := repo.Manifest(t.Context(), one.Digest); err != nil {
		t.Errorf("Manifest(signed manifest): got error %v, want none", err)
	}
	if _, err := repo.Manifest(t.Context(), evil.Digest); !errors.Is(err, layoutstore.ErrManifestUnknown) {
		t.Errorf("Manifest(unsigned manifest): got error %v, want ErrManifestUnknown", err)
	}
	if _, err := repo.Blob(t.Context(), evil.Digest); !errors.Is(err, layoutstore.ErrBlobUnknown) {
		t.Errorf("Blob(unsigned manifest): got error %v, want ErrBlobUnknown", err)
	}
	if _, err := repo.Blob(t.Context(), stray.Digest); !errors.Is(err, layoutstore.ErrBlobUnknown) {
		t.Errorf("Blob(unsigned blob): got error %v, want ErrBlobUnknown", err)
	}
	if d, err := repo.TagDigest("v1"); err == nil && d != one.Digest {
		t.Errorf("TagDigest(v1) = %s, want the signed digest or an error", d)
	}
	for _, l := range repo.Layouts() {
		entries, err := l.Index(t.Context())
		layouttest.Try(t, err)
		for _, e := range entries {
			if e.Digest != one.Digest || e.Tag != "" && e.Tag != "v1" {
				t.Errorf("got the index entry %+v, want only the signed manifest, with the tag v1 or none", e)
			}
		}
	}
	limited := 0
	for _, p := range s.ScanProblems() {
		if p.IsFailure() {
			limited++
		}
	}
	if limited == 0 {
		t.Error("problems: got none about unsigned content, want at least one")
	}
}

// A source without a valid signature is refused, at the start and later. Once the signature is
// valid, the source is served again.
func TestSourceWithoutValidSignatureIsRefused(t *testing.T) {
	dir, key, other := t.TempDir(), newSigningKey(t), newSigningKey(t)
	app := layouttest.New(t, dir).Layout("app")
	app.Tag(app.Image(layouttest.Image{Name: "one"}), "v1")
	app.Write()
	open := func(key *inventory.SigningKey) (*layoutstore.Tree, inventory.Refusal) {
		t.Helper()
		tree, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{dir}, Roots: []string{""}, VerifyKey: key.Public()})
		var refused *inventory.SignatureError
		if errors.As(err, &refused) {
			return nil, refused.Why
		}
		layouttest.Try(t, err)
		return tree, ""
	}
	if _, why := open(key); why != inventory.Unsigned {
		t.Errorf("Open without an inventory: got the reason %q, want unsigned", why)
	}
	signTree(t, dir, key)
	if _, why := open(other); why != inventory.OtherKey {
		t.Errorf("Open with a different key: got the reason %q, want other-key", why)
	}
	tree, why := open(key)
	if why != "" {
		t.Fatal(why)
	}
	served := func() bool {
		t.Helper()
		if _, err := tree.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, err := tree.Snapshot().Repository("app")
		return err == nil
	}
	file := filepath.Join(dir, inventory.SignatureName)
	signature, err := os.ReadFile(file)
	layouttest.Try(t, err)
	for what, break_ := range map[string]func() error{
		"removed":     func() error { return os.Remove(file) },
		"altered":     func() error { return os.WriteFile(file, append([]byte{signature[0] ^ 1}, signature[1:]...), 0o644) },
		"another key": func() error { signTree(t, dir, other); return nil },
	} {
		layouttest.Try(t, break_())
		if served() {
			t.Errorf("%s: the source is served, want a refusal", what)
		}
		if problems := tree.Snapshot().ScanProblems(); len(problems) != 1 || !problems[0].IsFailure() {
			t.Errorf("%s: got the problems %v, want one failure", what, problems)
		}
		signTree(t, dir, key)
		if !served() {
			t.Errorf("%s, after a valid signature: the source is refused, want it served", what)
		}
	}
}
