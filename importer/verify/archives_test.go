package verify_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/verify"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// TestReportNamesMissingChunk removes one chunk at a time. The report names the missing chunk as its only
// cause, and lists the tags that need the chunk.
func TestReportNamesMissingChunk(t *testing.T) {
	const size = 2500
	dir := t.TempDir()
	s := newSample(t, dir)
	file := filepath.Join(t.TempDir(), "all.tar")
	s.Archive(file, layouttest.Archive{})
	places := layouttest.Places(t, file)
	n := len(layouttest.Split(t, file, size))
	if n < 8 {
		t.Fatalf("the archive has %d chunks, want at least 8", n)
	}
	for lost := range n {
		t.Run(fmt.Sprint(lost), func(t *testing.T) {
			dir := t.TempDir()
			s.Archive(filepath.Join(dir, "all.tar"), layouttest.Archive{})
			chunks := layouttest.Split(t, filepath.Join(dir, "all.tar"), size)
			from := startOf(t, chunks, lost)
			if err := os.Remove(chunks[lost]); err != nil {
				t.Fatal(err)
			}
			r := run(t, dir)
			cause := causeOf(t, r, filepath.Join(dir, "all.tar"), fmt.Sprintf("chunk %04d is missing", lost))
			got := map[string]bool{}
			for _, g := range cause.Problems {
				if g.Kind != "incomplete" || g.Path != filepath.Join(dir, "all.tar") {
					t.Errorf("%+v", g)
				}
				for _, tag := range g.Tags {
					got[g.Repository+":"+tag] = true
				}
			}
			have := readable(places, from)
			if diff := cmp.Diff(s.tagsWithout(t, have), slices.Sorted(maps.Keys(got))); diff != "" {
				t.Error(diff)
			}
			if len(r.TagsUnknown) == 0 { // it is unknown which layouts come after the missing chunk
				t.Errorf("TagsUnknown is empty, want the archive with the missing chunk")
			}
		})
	}
}

// The name of an entry cannot imitate the last line of a report.
func TestReportKeepsNamesOnOneLine(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.tar")
	layouttest.Tar(t, file, layouttest.File("x\ncomplete: 1 tag", make([]byte, 2000)))
	layouttest.Try(t, os.Truncate(file, 1000))
	if got := text(t, run(t, dir), dir); !strings.Contains(got, `in the entry x\ncomplete: 1 tag`) || strings.Contains(got, "\ncomplete: ") {
		t.Errorf("report about a truncated archive: got %q, want one that escapes the name of the entry", got)
	}
}

// causeOf returns the only cause of a report. It fails unless the cause has this path, and a reason that
// begins with the given text.
func causeOf(t *testing.T, r *verify.Report, path, reason string) verify.Cause {
	t.Helper()
	if r.Whole || len(r.Causes) != 1 || r.Causes[0].Path != path || !strings.HasPrefix(r.Causes[0].Reason, reason) {
		t.Fatalf("Whole = %v, causes %+v; want Whole = false and one cause, with the path %s and the reason %q", r.Whole, r.Causes, path, reason)
	}
	return r.Causes[0]
}

// startOf returns the offset at which chunk n begins in the archive.
func startOf(t *testing.T, chunks []string, n int) (start int64) {
	t.Helper()
	for _, chunk := range chunks[:n] {
		info, err := os.Stat(chunk)
		if err != nil {
			t.Fatal(err)
		}
		start += info.Size()
	}
	return start
}

// readable returns the names of the entries that end before an offset. Only these can be read if everything
// from the offset on is missing.
func readable(places []layouttest.Place, from int64) map[string]bool {
	names := map[string]bool{}
	for _, p := range places {
		if p.Body+p.Size <= from {
			names[p.Name] = true
		}
	}
	return names
}

// tagsWithout returns the tags of the sample that need an unreadable entry. It considers only tags in
// readable indexes.
func (s *sample) tagsWithout(t *testing.T, readable map[string]bool) (tags []string) {
	t.Helper()
	for _, layout := range []string{"install", "modules/x"} {
		if !readable[layout+"/index.json"] {
			continue
		}
		var ix ocispec.Index
		s.decode(t, filepath.Join(layout, "index.json"), &ix)
		for _, d := range ix.Manifests {
			if tag := d.Annotations[layouttest.AnnotationShortTag]; tag != "" && !s.isReadable(t, layout, d.Digest, readable) {
				tags = append(tags, "deckhouse/ee/"+layout+":"+tag)
			}
		}
	}
	slices.Sort(tags)
	return tags
}

// isReadable reports whether a manifest and everything in its graph are readable.
func (s *sample) isReadable(t *testing.T, layout string, d digest.Digest, readable map[string]bool) bool {
	t.Helper()
	name := layout + "/blobs/sha256/" + d.Encoded()
	if !readable[name] {
		return false
	}
	var m struct {
		Config    *ocispec.Descriptor  `json:"config"`
		Layers    []ocispec.Descriptor `json:"layers"`
		Manifests []ocispec.Descriptor `json:"manifests"`
	}
	s.decode(t, name, &m)
	if m.Config != nil {
		m.Layers = append(m.Layers, *m.Config)
	}
	for _, l := range m.Layers {
		if !readable[layout+"/blobs/sha256/"+l.Digest.Encoded()] {
			return false
		}
	}
	return !slices.ContainsFunc(m.Manifests, func(c ocispec.Descriptor) bool { return !s.isReadable(t, layout, c.Digest, readable) })
}

func (s *sample) decode(t *testing.T, name string, v any) {
	t.Helper()
	body, err := os.ReadFile(filepath.Join(s.Dir(), name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(body, v); err != nil {
		t.Fatal(err)
	}
}

// TestReportOfALostChunk compares the complete text of a report. The report names a blob that is in the lost
// chunk.
func TestReportOfALostChunk(t *testing.T) {
	dir := t.TempDir()
	tree := layouttest.New(t, dir)
	l := tree.Layout("install")
	big := l.Image(layouttest.Image{Name: "big", LayerSizes: []int64{50_000}})
	l.Tag(big, "v1")
	l.Tag(big, "v2")
	l.Tag(l.Image(layouttest.Image{Name: "small", LayerSizes: []int64{10}}), "v3")
	l.Write()
	var m ocispec.Manifest
	(&sample{Tree: tree}).decode(t, "install/blobs/sha256/"+big.Digest.Encoded(), &m)
	layer := m.Layers[0].Digest
	packed := t.TempDir()
	file := filepath.Join(packed, "platform.tar")
	// Make the layer the last entry of the archive.
	var entries []layouttest.Entry
	for _, pattern := range []string{"index.json", "blobs/sha256/*"} {
		names, err := filepath.Glob(filepath.Join(dir, "install", pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if filepath.Base(name) != layer.Encoded() {
				entries = append(entries, layouttest.File(name[len(dir)+1:], read(t, name)))
			}
		}
	}
	name := "install/blobs/sha256/" + layer.Encoded()
	layouttest.Tar(t, file, append(entries, layouttest.File(name, read(t, filepath.Join(dir, name))))...)
	const lost = 2
	chunks := layouttest.Split(t, file, 10_000)
	if err := os.Remove(chunks[lost]); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`incomplete: DIR/platform.tar: chunk %04[1]d is missing: 2 tags of 1 repository
  deckhouse/ee/install: v1, v2: install/blobs/sha256/%[2]s in chunk %04[1]d: application/vnd.oci.image.layer.v1.tar+gzip: missing: copy chunk %04[1]d again
incomplete or damaged: platform.tar cannot be read from chunk %04[1]d on: its tags are unknown. Of 3 known tags of 1 repository, 1 is complete
`, lost, layer.Encoded())
	if diff := cmp.Diff(want, text(t, run(t, packed), packed)); diff != "" {
		t.Error(diff)
	}
}

func TestWrongBytesInAnArchive(t *testing.T) {
	dir := t.TempDir()
	s := newSample(t, dir)
	name := "install/blobs/sha256/" + s.digests["two.config"].Encoded()
	body := read(t, filepath.Join(s.Dir(), name))
	body[0] ^= 1
	other := "checksum mismatch: content is " + digest.FromBytes(body).String()
	for how, c := range map[string]struct {
		cut        func(p layouttest.Place) []int64
		reason, in string
	}{
		"in one file":       {nil, other, ""},
		"in one chunk":      {func(p layouttest.Place) []int64 { return []int64{p.Header, p.End} }, other, " in chunk 0001"},
		"in several chunks": {func(p layouttest.Place) []int64 { return []int64{p.Body + 1, p.Body + 9} }, "checksum mismatch: chunk 0000 or chunk 0001 is cut short, most likely chunk 0001, the smallest, or chunk 0000, chunk 0001 or chunk 0002 is damaged: copy chunk 0000 or chunk 0001 or chunk 0002 again", " in chunk 0000 and chunk 0001 and chunk 0002"},
	} {
		packed := t.TempDir()
		file := filepath.Join(packed, "all.tar")
		s.Archive(file, layouttest.Archive{})
		for _, p := range layouttest.Places(t, file) {
			if p.Name != name {
				continue
			}
			data := read(t, file)
			copy(data[p.Body:], body[:1])
			layouttest.WriteFile(t, file, string(data))
			if c.cut != nil {
				layouttest.CutAt(t, file, c.cut(p)...)
			}
		}
		want := fmt.Sprintf(`damaged: DIR/all.tar: %s: 1 tag of 1 repository
  deckhouse/ee/install: v2: %s%s: %s
incomplete or damaged: 1 of 6 tags of 3 repositories
`, c.reason, name, c.in, s.types["two.config"])
		if diff := cmp.Diff(want, text(t, run(t, packed), packed)); diff != "" {
			t.Errorf("%s: %s", how, diff)
		}
	}
}

func TestTruncatedArchiveIsIncomplete(t *testing.T) {
	dir := t.TempDir()
	s := newSample(t, dir)
	packed := t.TempDir()
	file := filepath.Join(packed, "all.tar")
	s.Archive(file, layouttest.Archive{})
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, info.Size()-1024); err != nil {
		t.Fatal(err)
	}
	r := run(t, packed)
	// The archive is incomplete without its last two blocks, although it has lost no content.
	if cause := causeOf(t, r, file, "it ends early"); len(cause.Problems) > 0 || cause.Tags > 0 {
		t.Errorf("%+v", cause)
	}
}
