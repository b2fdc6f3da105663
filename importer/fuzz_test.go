package importer

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// FuzzUntag checks that untag removes a tag from all entries of an index, and keeps the entries.
func FuzzUntag(f *testing.F) {
	const d = `"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":2`
	for _, annotations := range []string{
		`{"org.opencontainers.image.ref.name":"v1"}`, `{"io.deckhouse.image.short_tag":"v1"}`, `{"org.opencontainers.image.ref.name":"r.example/a/b:v1"}`,
		`{"org.opencontainers.image.ref.name":"v1","ORG.opencontainers.image.ref.name":"v1","x":"y"}`, `{"org.opencontainers.image.ref.name":"v1"},"Annotations":{"io.deckhouse.image.short_tag":"v1"}`,
	} {
		f.Add([]byte(`{"schemaVersion":2,"manifests":[{` + d + `,"annotations":` + annotations + `},{` + d + `}],"x":[1]}`))
	}
	f.Add([]byte(`{"schemaVersion":2,"manifesTs":[{` + d + `}]}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[],"Manifests":[{` + d + `}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := merging{byTag: map[string][]int{}, replaced: map[digest.Digest][]int{}}
		if m.parse(data, "a") != nil {
			return
		}
		before, err := layoutstore.ParseIndex(data, "a")
		if err != nil {
			t.Fatal(err)
		}
		for tag := range m.byTag {
			m.untag(tag)
		}
		for i, w := range m.entries {
			if w.Digest == "" {
				continue
			}
			after, err := layoutstore.ParseIndex([]byte(`{"schemaVersion":2,"manifests":[`+string(w.raw)+`]}`), "a")
			if err != nil || len(after) != 1 || after[0].Tag != "" || after[0].Digest != w.Digest {
				t.Errorf("untag changed entry %d of %q to %q; ParseIndex reads this as %+v, error %v; want one entry with the same digest and no tag", i, data, w.raw, after, err)
			}
		}
		if len(m.entries) < len(before) {
			t.Errorf("after untag, the index has %d of its %d entries, want all", len(m.entries), len(before))
		}
	})
}

// FuzzMoveRecord checks that a record is read back unchanged, whatever bytes its names contain. It
// also checks that a record is refused if its first line states a wrong number of files.
func FuzzMoveRecord(f *testing.F) {
	f.Add("a.tar.0000.chunk", "\xff\n\x00", uint64(7), []byte(`{"format":1,"generation":1,"files":1}`+"\n"+`{"name":"a"}`))
	f.Add("", "../x", uint64(0), []byte(`{"format":1,"files":-1}`))
	f.Fuzz(func(t *testing.T, a, b string, generation uint64, content []byte) {
		r := moveRecord{Generation: generation, files: []publish.MovedFile{{Name: publish.FileName(a)}, {Name: publish.FileName(b), Link: true}}}
		var out bytes.Buffer
		if err := r.write(&out); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "record")
		read := func(data []byte) (*moveRecord, error) {
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
			return readMoveRecord(file)
		}
		got, err := read(out.Bytes())
		if err != nil || len(got.files) != 2 || string(got.files[0].Name) != a || string(got.files[1].Name) != b || got.Generation != generation {
			t.Errorf("record with the names %q and %q: read back as %+v, error %v; want the same names and generation", a, b, got, err)
		}
		if got, err := read(content); err == nil && len(got.files) != got.Count {
			t.Errorf("readMoveRecord accepted the record %q, want an error: it contains %d files, but its first line states %d", content, len(got.files), got.Count)
		}
	})
}
