package layoutstore

import (
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/durable"
)

// FuzzQuarantineRecord checks that each record is read back unchanged. A record file with different
// content must be reported as unreadable, and never be read as another record.
func FuzzQuarantineRecord(f *testing.F) {
	f.Add("/srv/bundle", "x/blobs", "sha256:00", "1 2 3", "checksum mismatch\n\x00\xff", []byte(""))
	f.Add("", "", "", "", "", []byte("layoutproxy quarantine 1\npath \"a\"\nentry \"\"\ndigest \"\"\nstamp \"\"\nreason \"\"\n"))
	f.Fuzz(func(t *testing.T, path, entry, d, stamp, reason string, content []byte) {
		v := record{at: place{path: path, entry: entry}, digest: digest.Digest(d), stamp: stamp, reason: reason}
		dir := t.TempDir()
		one := newRecords(dir)
		one.queueWrite(v)
		if _, unread := one.sync(); len(unread) > 0 || one.failure != "" {
			t.Fatal(unread, one.failure)
		}
		found, unread, err := newRecords(dir).readAll()
		if len(found)+len(unread) != 1 || err != nil {
			t.Fatalf("got %d readable and %d unreadable records and error %v, want 1 record altogether and no error", len(found), len(unread), err)
		}
		if len(found) == 1 && len(reason) < 1000 && found[0] != v {
			t.Errorf("readAll after a write of %+v = %+v, want the same record", v, found[0])
		}
		if err := durable.WriteFile(filepath.Join(dir, v.name()), content, 0o600); err != nil {
			t.Fatal(err)
		}
		found, unread, err = newRecords(dir).readAll()
		if len(found)+len(unread) != 1 || err != nil {
			t.Fatalf("got %d readable and %d unreadable records and error %v, want 1 record altogether and no error", len(found), len(unread), err)
		}
		if len(found) == 1 && found[0].name() != v.name() {
			t.Errorf("readAll after the file of %+v was overwritten = %+v, want a record with the same name", v, found[0])
		}
	})
}
