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

// TestEachChunkLost loses one chunk at a time. The report has one cause, that the
// chunk is missing, and below it the tags that cannot be whole without the chunk.
func TestEachChunkLost(t *testing.T) {
	const size = 2500
	dir := t.TempDir()
	s := newSample(t, dir)
	file := filepath.Join(t.TempDir(), "all.tar")
	s.Archive(file, layouttest.Archive{})
	places := layouttest.Places(t, file)
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	n := int((info.Size() + size - 1) / size)
	if n < 8 {
		t.Fatalf("%d chunks are too few", n)
	}
	for lost := range n {
		t.Run(fmt.Sprint(lost), func(t *testing.T) {
			dir := t.TempDir()
			s.Archive(filepath.Join(dir, "all.tar"), layouttest.Archive{})
			chunks := layouttest.Cut(t, filepath.Join(dir, "all.tar"), size)
			if err := os.Remove(chunks[lost]); err != nil {
				t.Fatal(err)
			}
			r := run(t, dir)
			cause := causeOf(t, r, filepath.Join(dir, "all.tar"), fmt.Sprintf("chunk %04d is missing", lost))
			got := map[string]bool{}
			for _, g := range cause.Gaps {
				if g.Kind != "incomplete" || g.Path != filepath.Join(dir, "all.tar") {
					t.Errorf("%+v", g)
				}
				for _, tag := range g.Tags {
					got[g.Repository+":"+tag] = true
				}
			}
			from, to := int64(lost)*size, int64(lost+1)*size
			have := readable(places, from, to)
			if diff := cmp.Diff(s.tagsWithout(t, have), slices.Sorted(maps.Keys(got))); diff != "" {
				t.Error(diff)
			}
			// What the headers lead to is known to be all; an index that is not there,
			// or that nobody finds, may have had more.
			want := blinds(places, from, to) || !have["install/index.json"] || !have["modules/x/index.json"]
			if (len(r.TagsUnknown) > 0) != want {
				t.Errorf("tags are unknown in %v, want any: %v", r.TagsUnknown, want)
			}
		})
	}
}

// causeOf is the cause of a report that has one, beside what the loss of an index
// leaves without a home.
func causeOf(t *testing.T, r *verify.Report, path, reason string) verify.Cause {
	t.Helper()
	if r.Whole || len(r.Causes) != 1 || r.Causes[0].Path != path || !strings.HasPrefix(r.Causes[0].Reason, reason) {
		t.Fatalf("whole: %v, %+v; want that %s", r.Whole, r.Causes, reason)
	}
	return r.Causes[0]
}

// blinds says whether headers are missing with the bytes from one place to another,
// or the end that has to follow them.
func blinds(places []layouttest.Place, from, to int64) bool {
	return slices.ContainsFunc(places, func(p layouttest.Place) bool { return p.Header < to && p.Body > from }) ||
		to > places[len(places)-1].End
}

// readable are the names of the entries that can be read where the bytes from one
// place to another are missing: those behind a header that is missing are not found.
func readable(places []layouttest.Place, from, to int64) map[string]bool {
	names := map[string]bool{}
	for _, p := range places {
		if p.Header < to && p.Body > from {
			break
		}
		if p.Body >= to || p.End <= from || p.End-p.Body == 0 {
			names[p.Name] = true
		}
	}
	return names
}

// tagsWithout are the tags of the sample, of the indexes that can be read, that need
// something that cannot.
func (s *sample) tagsWithout(t *testing.T, readable map[string]bool) (tags []string) {
	t.Helper()
	for _, layout := range []string{"install", "modules/x"} {
		if !readable[layout+"/index.json"] {
			continue
		}
		var ix ocispec.Index
		s.decode(t, filepath.Join(layout, "index.json"), &ix)
		for _, d := range ix.Manifests {
			if tag := d.Annotations[layouttest.AnnotationShortTag]; tag != "" && !s.whole(t, layout, d.Digest, readable) {
				tags = append(tags, "deckhouse/ee/"+layout+":"+tag)
			}
		}
	}
	slices.Sort(tags)
	return tags
}

// whole says whether all that a manifest leads to can be read.
func (s *sample) whole(t *testing.T, layout string, d digest.Digest, readable map[string]bool) bool {
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
	return !slices.ContainsFunc(m.Manifests, func(c ocispec.Descriptor) bool { return !s.whole(t, layout, c.Digest, readable) })
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

// TestReportOfALostChunk has the whole text, with a blob that is known to have lain
// in the chunk.
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
	tree.Archive(file, layouttest.Archive{})
	// A chunk of which nothing but the big layer knows.
	var lost int64
	for _, p := range layouttest.Places(t, file) {
		if strings.HasSuffix(p.Name, layer.Encoded()) {
			lost = p.Body/10_000 + 2
		}
	}
	chunks := layouttest.Cut(t, file, 10_000)
	if err := os.Remove(chunks[lost]); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`incomplete: DIR/platform.tar: chunk %04[1]d is missing: 2 tags of 1 repository
  deckhouse/ee/install: v1, v2: install/blobs/sha256/%[2]s in chunk %04[1]d: application/vnd.oci.image.layer.v1.tar+gzip: not there
not whole: 2 of 3 tags of 1 repository
`, lost, layer.Encoded())
	if diff := cmp.Diff(want, text(t, run(t, packed), packed)); diff != "" {
		t.Error(diff)
	}
}

func TestWrongBytesInAnArchive(t *testing.T) {
	dir := t.TempDir()
	s := newSample(t, dir)
	for _, chunk := range []int64{0, 700} {
		packed := t.TempDir()
		file := filepath.Join(packed, "all.tar")
		s.Archive(file, layouttest.Archive{})
		name := "install/blobs/sha256/" + s.digests["two.config"].Encoded()
		body, err := os.ReadFile(filepath.Join(s.Dir(), name))
		if err != nil {
			t.Fatal(err)
		}
		body[0] ^= 1
		in := ""
		for _, p := range layouttest.Places(t, file) {
			if p.Name != name {
				continue
			}
			f, err := os.OpenFile(file, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(body[:1], p.Body); err != nil {
				t.Fatal(err)
			}
			f.Close()
			if last := p.Body + int64(len(body)) - 1; chunk > 0 {
				in = fmt.Sprintf(" in chunk %04d", p.Body/chunk)
				if p.Body/chunk != last/chunk {
					in += fmt.Sprintf(" and chunk %04d", last/chunk)
				}
			}
		}
		if chunk > 0 {
			layouttest.Cut(t, file, chunk)
		}
		want := fmt.Sprintf(`damaged: DIR/all.tar: its bytes are those of %s: 1 tag of 1 repository
  deckhouse/ee/install: v2: %s%s: %s
not whole: 1 of 6 tags of 3 repositories
`, digest.FromBytes(body), name, in, s.types["two.config"])
		if diff := cmp.Diff(want, text(t, run(t, packed), packed)); diff != "" {
			t.Errorf("chunks of %d: %s", chunk, diff)
		}
	}
}

func TestArchiveCutShort(t *testing.T) {
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
	// All is there but the end: nothing is missing, and yet it is not whole.
	if cause := causeOf(t, r, file, "it ends early"); len(cause.Gaps) > 0 || cause.Tags > 0 {
		t.Errorf("%+v", cause)
	}
}
