package drop_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/gather"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
)

func newKey(t *testing.T) *inventory.SigningKey {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	importertest.Must(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	importertest.Must(t, err)
	key, err := inventory.ParseSigningKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	importertest.Must(t, err)
	return key
}

// sign writes the signed inventory of a directory to a scratch directory, and returns the inventory's path.
func sign(t *testing.T, dir string, key *inventory.SigningKey) (file string) {
	t.Helper()
	var b inventory.Builder
	_, err := gather.Sources(t.Context(), []string{dir}, gather.Options{Checksums: true}, &b)
	importertest.Must(t, err)
	listed, err := b.Build("test")
	importertest.Must(t, err)
	data, signature, err := key.EncodeSigned(listed)
	importertest.Must(t, err)
	file = filepath.Join(importertest.Scratch(t), inventory.Name)
	importertest.Must(t, os.WriteFile(file, data, 0o644))
	importertest.Must(t, os.WriteFile(file+".sig", signature, 0o644))
	return file
}

// A dropped bundle waits for its signature and for every file in its inventory. After the import,
// all of its files are moved to done/, including the inventory.
func TestDropWaitsForListedFiles(t *testing.T) {
	bundle, key := importertest.NewBundle(t), newKey(t)
	listed := sign(t, bundle, key)
	d := newDropping(t)
	i, err := importertest.NewWith(importer.Options{Store: d.store, Jobs: 1, VerifyKey: key.Public()})
	importertest.Must(t, err)
	d.restartWith(i)
	d.scan(0)
	importertest.Must(t, os.CopyFS(filepath.Join(d.dir, "bundle"), os.DirFS(bundle)))
	last := filepath.Join(d.dir, "bundle/module-console.tar")
	importertest.Must(t, os.Remove(last))
	d.put(listed, "bundle/"+inventory.Name)
	d.scan(time.Second)
	d.scan(time.Minute)
	d.wantStatus("bundle", "waiting", "module-console.tar: the archive is missing")
	d.put(filepath.Join(bundle, "module-console.tar"), "bundle/module-console.tar")
	d.scan(time.Second)
	d.scan(time.Minute)
	d.wantStatus("bundle", "waiting", "unsigned: there is no bundle.json.sig")
	d.put(listed+".sig", "bundle/"+inventory.SignatureName)
	d.scan(time.Second)
	d.scan(time.Minute)
	d.wantStatus("bundle", "published", "")
	if !d.has("done/bundle/"+inventory.Name) || !d.has("done/bundle/module-console.tar") || d.has("bundle") {
		t.Error("the imported bundle or its inventory is not in done/, want both there")
	}
}

// A bundle that is signed with an unknown key is moved to failed/.
func TestDropRefusesUnknownKey(t *testing.T) {
	bundle := importertest.NewBundle(t)
	listed := sign(t, bundle, newKey(t))
	d := newDropping(t)
	i, err := importertest.NewWith(importer.Options{Store: d.store, Jobs: 1, VerifyKey: newKey(t).Public()})
	importertest.Must(t, err)
	d.restartWith(i)
	d.scan(0)
	importertest.Must(t, os.CopyFS(filepath.Join(d.dir, "bundle"), os.DirFS(bundle)))
	d.put(listed, "bundle/"+inventory.Name)
	d.put(listed+".sig", "bundle/"+inventory.SignatureName)
	d.scan(time.Second)
	d.scan(time.Minute)
	d.wantStatus("bundle", "failed", "signed with another key")
	if !d.has("failed/bundle.reason.json") || d.published > 0 {
		t.Error("the reason file is missing, or the bundle was published, want a reason file and no publication")
	}
}
