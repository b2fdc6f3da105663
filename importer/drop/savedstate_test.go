package drop_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/importer/drop"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// No file is moved before the record of the move is durable on disk. If any step of writing the
// record fails, nothing is moved.
func TestDropRecordIsDurable(t *testing.T) {
	for _, step := range []string{"create", "write", "fsync", "rename", "fsync of the directory"} {
		t.Run(step, func(t *testing.T) {
			d := newDropping(t)
			layouttest.Cut(t, importertest.ArchiveOf(t, filepath.Join(d.dir, "a.tar"), "app:v1=a"), 2000)
			var steps []string
			d.importer.Before(func(op, path string) error {
				switch {
				case strings.HasPrefix(path, ".layoutproxy/dropped.json"):
				case op == "fsync" && path == ".layoutproxy" && slices.Contains(steps, "rename"):
					op += " of the directory"
				case strings.HasSuffix(op, " dropped"):
				default:
					return nil
				}
				if steps = append(steps, op); op == step {
					return errors.New("no space left")
				}
				return nil
			})
			d.restartWith(d.importer)
			before := importertest.Contents(t, d.dir)
			d.scan(time.Minute)
			d.scan(time.Minute)
			importertest.Same(t, "the drop directory", importertest.Contents(t, d.dir), before)
			if !slices.Contains(steps, step) {
				t.Errorf("steps of writing the record: got %q, want them to contain %q, which the test makes fail", steps, step)
			}
			d.wantStatus("a.tar", "published", "no space left")
		})
	}
}

// While the record is damaged, nothing is imported, because any file could be left from an imported
// bundle. The damaged record is kept until somebody repairs it.
func TestDropReportsDamagedRecord(t *testing.T) {
	for i, damage := range []func([]byte) []byte{
		func(data []byte) []byte { return data[:len(data)/2] },
		func(data []byte) []byte { return append(data, "more"...) },
		func([]byte) []byte { return nil },
		func(data []byte) []byte { return make([]byte, len(data)) },
		func([]byte) []byte { return []byte("null") },
		func([]byte) []byte { return []byte(`{"a.tar":{"leaving":"all"}}`) },
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			d := newDropping(t)
			layouttest.Cut(t, importertest.ArchiveOf(t, filepath.Join(d.dir, "a.tar"), "app:v1=a"), 2000)
			d.killAt(2, true)
			record := filepath.Join(d.store, ".layoutproxy/dropped.json")
			good, err := os.ReadFile(record)
			importertest.Must(t, err)
			bad := damage(slices.Clone(good))
			importertest.Must(t, os.WriteFile(record, bad, 0o644))
			importertest.ArchiveOf(t, filepath.Join(d.dir, "b.tar"), "app:v2=b")
			before := importertest.Contents(t, d.dir)
			d.restart(func(o *drop.Options) { o.Remove = true })
			d.wantStatus("dropped.json", "waiting", "is damaged")
			d.scan(time.Minute)
			d.scan(time.Minute)
			d.wantStatus("dropped.json", "waiting", "is damaged")
			d.wantStatus("b.tar", "waiting", "dropped.json")
			importertest.Same(t, "the drop directory", importertest.Contents(t, d.dir), before)
			if data, err := os.ReadFile(record); err != nil || string(data) != string(bad) {
				t.Errorf("the damaged record after the scan: got %q and error %v, want it unchanged", data, err)
			}
			importertest.Must(t, os.WriteFile(record, good, 0o644)) // somebody restores the record from a backup
			d.scan(time.Minute)
			d.scan(time.Minute)
			if left := importertest.Contents(t, d.dir); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
			if s := d.drop.Status(); slices.ContainsFunc(s, func(s drop.Status) bool { return s.Name == "dropped.json" }) {
				t.Errorf("status after the record was restored: got %+v, want no entry for the record", s)
			}
		})
	}
}
