package verify_test

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer/gather"
	"github.com/layoutproxy/layoutproxy/importer/verify"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

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

func sign(t *testing.T, dir string, key *inventory.SigningKey) {
	t.Helper()
	var b inventory.Builder
	problems, err := gather.Sources(t.Context(), []string{dir}, gather.Options{Checksums: true}, &b)
	layouttest.Try(t, err)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	listed, err := b.Build("test")
	layouttest.Try(t, err)
	data, signature, err := key.EncodeSigned(listed)
	layouttest.Try(t, err)
	layouttest.Try(t, os.WriteFile(filepath.Join(dir, inventory.Name), data, 0o644))
	layouttest.Try(t, os.WriteFile(filepath.Join(dir, inventory.SignatureName), signature, 0o644))
}

// signedBundle makes a bundle of two archives, one of them in chunks, with a signed inventory.
func signedBundle(t *testing.T) (dir string, key *inventory.SigningKey) {
	t.Helper()
	s := newSample(t, t.TempDir())
	dir, key = t.TempDir(), newKey(t)
	s.Archive(filepath.Join(dir, "module-x.tar"), layouttest.Archive{Layouts: []string{"modules/x"}})
	s.Archive(filepath.Join(dir, "platform.tar"), layouttest.Archive{Layouts: []string{"install"}})
	layouttest.Split(t, filepath.Join(dir, "platform.tar"), 6000)
	sign(t, dir, key)
	return dir, key
}

// verified verifies a directory, and returns the text of the report and whether it is complete. If key is not
// nil, the bundle must be signed with it.
func verified(t *testing.T, dir string, key *inventory.SigningKey) (string, bool) {
	t.Helper()
	o := layoutstore.Options{Sources: []string{dir}, Roots: []string{"r"}}
	if key != nil {
		o.VerifyKey = key.Public()
	}
	tree, err := layoutstore.Open(t.Context(), o)
	if errors.As(err, new(*inventory.SignatureError)) {
		return err.Error(), false
	}
	layouttest.Try(t, err)
	report, err := verify.Run(t.Context(), tree.Snapshot(), verify.Options{})
	layouttest.Try(t, err)
	var text strings.Builder
	layouttest.Try(t, report.WriteText(&text))
	return text.String(), report.Whole
}

func archiveFiles(t *testing.T, dir string) []string {
	t.Helper()
	archives, err := filepath.Glob(filepath.Join(dir, "*.tar"))
	layouttest.Try(t, err)
	chunks, err := filepath.Glob(filepath.Join(dir, "*.chunk"))
	layouttest.Try(t, err)
	if len(archives) != 1 || len(chunks) < 3 {
		t.Fatal(archives, chunks)
	}
	return append(archives, chunks...)
}

func TestSignedBundleIsComplete(t *testing.T) {
	dir, key := signedBundle(t)
	if text, ok := verified(t, dir, key); !ok {
		t.Error(text)
	}
	// The bundle stays complete even if its archives are split into different chunks after it was
	// signed.
	var joined []byte
	for _, name := range archiveFiles(t, dir)[1:] {
		data, err := os.ReadFile(name)
		layouttest.Try(t, err)
		joined = append(joined, data...)
		layouttest.Try(t, os.Remove(name))
	}
	whole := filepath.Join(dir, "platform.tar")
	layouttest.Try(t, os.WriteFile(whole, joined, 0o644))
	if text, ok := verified(t, dir, key); !ok {
		t.Errorf("the joined archive is not complete, want it complete: %s", text)
	}
	layouttest.Cut(t, whole, 5000)
	if text, ok := verified(t, dir, key); !ok {
		t.Errorf("after a split into different chunks, the bundle is not complete, want it complete: %s", text)
	}
	layouttest.Cut(t, filepath.Join(dir, "module-x.tar"), 3000)
	if text, ok := verified(t, dir, key); !ok {
		t.Errorf("after a split of module-x.tar, the bundle is not complete, want it complete: %s", text)
	}
}

// A report names a missing archive or chunk, even the last chunk. This holds with and without a key.
func TestReportNamesMissingFiles(t *testing.T) {
	dir, key := signedBundle(t)
	for _, name := range archiveFiles(t, dir) {
		data, err := os.ReadFile(name)
		layouttest.Try(t, err)
		layouttest.Try(t, os.Remove(name))
		base := filepath.Base(name)
		archive, number := base, ""
		if before, after, ok := strings.Cut(base, ".tar."); ok {
			archive, number = before+".tar", "chunk "+strings.TrimSuffix(after, ".chunk")
		}
		for _, key := range []*inventory.SigningKey{nil, key} {
			if text, ok := verified(t, dir, key); ok || !strings.Contains(text, archive) || !strings.Contains(text, number) || !strings.Contains(text, "missing") {
				t.Errorf("report without the file %s: want a report that names it as missing, got %s", base, text)
			}
		}
		layouttest.Try(t, os.WriteFile(name, data, 0o644))
	}
	if text, ok := verified(t, dir, key); !ok {
		t.Error(text)
	}
}

// The inventory and the headers of an archive both show that a chunk in the middle is missing. The
// report says so only once.
func TestReportNamesMissingChunkOnce(t *testing.T) {
	dir, key := signedBundle(t)
	layouttest.Try(t, os.Remove(filepath.Join(dir, "platform.tar.0001.chunk")))
	for _, key := range []*inventory.SigningKey{nil, key} {
		if text, ok := verified(t, dir, key); ok || strings.Count(text, "chunk 0001 is missing") != 1 {
			t.Errorf("report without chunk 0001: want one line that names it as missing, got %s", text)
		}
	}
}

// If the last chunk of an archive has only zeros, the archive looks complete without it. Only the
// inventory reveals that the chunk is missing.
func TestReportNamesMissingPadding(t *testing.T) {
	s := newSample(t, t.TempDir())
	dir := t.TempDir()
	archive := filepath.Join(dir, "a.tar")
	s.Archive(archive, layouttest.Archive{})
	info, err := os.Stat(archive)
	layouttest.Try(t, err)
	layouttest.CutAt(t, archive, info.Size()-512, info.Size())
	sign(t, dir, newKey(t))
	chunks := []string{filepath.Join(dir, "a.tar.0001.chunk"), filepath.Join(dir, "a.tar.0002.chunk")}
	for _, name := range chunks[1:] {
		if _, err := os.Stat(name); err != nil {
			continue
		}
		layouttest.Try(t, os.Remove(name)) // this chunk contains only zeros
		if text, ok := verified(t, dir, nil); ok || !strings.Contains(text, "chunk 0002 is missing (the archive has 3 chunks)") {
			t.Error(text)
		}
	}
	layouttest.Try(t, os.Remove(chunks[0]))
	if text, ok := verified(t, dir, nil); ok || !strings.Contains(text, "chunk 0001") {
		t.Error(text)
	}
}

// An archive was split again, into different chunks, after the signature. If one of the new chunks
// is missing, the report names only that chunk, and the archive only once.
func TestReportNamesMissingChunkOfResplitArchive(t *testing.T) {
	dir, key := signedBundle(t)
	files, err := filepath.Glob(filepath.Join(dir, "platform.tar.*.chunk"))
	layouttest.Try(t, err)
	var whole []byte
	for _, name := range files {
		data, err := os.ReadFile(name)
		layouttest.Try(t, err)
		whole = append(whole, data...)
		layouttest.Try(t, os.Remove(name))
	}
	layouttest.Try(t, os.WriteFile(filepath.Join(dir, "platform.tar"), whole, 0o644))
	layouttest.Split(t, filepath.Join(dir, "platform.tar"), int64(len(whole)/6+1))
	if text, complete := verified(t, dir, key); !complete {
		t.Fatal(text)
	}
	layouttest.Try(t, os.Remove(filepath.Join(dir, "platform.tar.0001.chunk")))
	text, complete := verified(t, dir, key)
	if complete || !strings.Contains(text, "platform.tar: chunk 0001 is missing") || strings.Count(text, "its tags are unknown") != 1 {
		t.Error(text)
	}
	for _, intact := range []string{"chunk 0000", "chunk 0002", "chunk 0003", "chunk 0004", "chunk 0005"} {
		if strings.Contains(text, intact) {
			t.Errorf("the report names the intact %s, want only the missing chunk: %s", intact, text)
		}
	}
}

// A flipped bit anywhere in an archive is reported. This includes bytes that no reader uses, such as padding
// or the mode of an entry.
func TestFlippedBitsAreReported(t *testing.T) {
	dir, key := signedBundle(t)
	every := int64(1201)
	if os.Getenv("LAYOUTPROXY_TEST_ALL") != "" {
		every = 97
	}
	for _, name := range archiveFiles(t, dir) {
		data, err := os.ReadFile(name)
		layouttest.Try(t, err)
		for at := int64(7); at < int64(len(data)); at += every {
			data[at] ^= 1 << (at % 8)
			layouttest.Try(t, os.WriteFile(name, data, 0o644))
			if text, ok := verified(t, dir, key); ok || !strings.Contains(text, "damaged") {
				t.Errorf("%s: report after a flip of a bit in byte %d: want damaged, got %s", filepath.Base(name), at, text)
			}
			data[at] ^= 1 << (at % 8)
		}
		layouttest.Try(t, os.WriteFile(name, data, 0o644))
	}
	if text, ok := verified(t, dir, key); !ok {
		t.Error(text)
	}
}

// A report names an archive that the inventory does not list. If a key is configured, such an archive is a
// failure.
func TestReportNamesUnlistedArchive(t *testing.T) {
	dir, key := signedBundle(t)
	s := newSample(t, t.TempDir())
	foreign := s.Layout("modules/evil")
	foreign.Tag(foreign.Image(layouttest.Image{Name: "evil"}), "v1")
	foreign.Write()
	s.Archive(filepath.Join(dir, "module-evil.tar"), layouttest.Archive{Layouts: []string{"modules/evil"}})
	if text, ok := verified(t, dir, nil); !ok || !strings.Contains(text, "module-evil.tar: not part of this bundle") {
		t.Error(text)
	}
	if text, ok := verified(t, dir, key); ok || !strings.Contains(text, "module-evil.tar: not part of this bundle") || !strings.Contains(text, "no signed inventory lists it") {
		t.Error(text)
	}
}

// A report says whether bundle.json is damaged, or has another format and is ignored.
func TestReportOfMalformedInventory(t *testing.T) {
	dir, key := signedBundle(t)
	file := filepath.Join(dir, inventory.Name)
	good, err := os.ReadFile(file)
	layouttest.Try(t, err)
	for what, c := range map[string]struct {
		data  string
		whole bool // whether the report without a key is complete
		want  string
	}{
		"damaged":                   {strings.Replace(string(good), `"bases"`, `"basis"`, 1), false, "copy it again, or remove it"},
		"later version":             {strings.Replace(string(good), `"formatVersion":1`, `"formatVersion":2`, 1), true, "it is ignored"},
		"a file of another program": {`{"name":"a bundle of JavaScript"}`, true, "it is ignored"},
	} {
		layouttest.Try(t, os.WriteFile(file, []byte(c.data), 0o644))
		if text, ok := verified(t, dir, nil); ok != c.whole || !strings.Contains(text, c.want) {
			t.Errorf("%s: %s", what, text)
		}
		if text, ok := verified(t, dir, key); ok || !strings.Contains(text, "altered") {
			t.Errorf("%s: %s", what, text)
		}
	}
	layouttest.Try(t, os.Remove(file))
	if text, ok := verified(t, dir, nil); !ok {
		t.Error(text)
	}
	if text, ok := verified(t, dir, key); ok || !strings.Contains(text, "unsigned") {
		t.Error(text)
	}
}
