package verify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"

	"github.com/layoutproxy/layoutproxy/importer/verify"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sample is a small tree that has blobs of every kind, with a name for each blob.
type sample struct {
	*layouttest.Tree
	install *layouttest.Layout
	digests map[string]digest.Digest
	types   map[string]string
}

// newSample writes a tree below dir. It has two images that share a layer, an index in an index, and a
// referrer without its subject. A module has a copy of the shared layer. The first image has two tags.
func newSample(t testing.TB, dir string) *sample {
	t.Helper()
	s := &sample{Tree: layouttest.New(t, dir), digests: map[string]digest.Digest{}, types: map[string]string{}}
	s.install = s.Layout("install")
	shared := []byte("a layer of several images")
	image := func(name string, layers ...[]byte) ocispec.Descriptor {
		return s.named(t, name, s.install.Image(layouttest.Image{Name: name, Layers: layers}))
	}
	one := image("one", shared, []byte("a layer of only one image"))
	s.install.Tag(one, "v1")
	s.install.Tag(one, "stable")
	s.install.Tag(image("two", shared), "v2")
	inner := s.named(t, "inner", s.install.Index(layouttest.Index{Children: []ocispec.Descriptor{image("amd", []byte("for amd"))}}))
	outer := s.named(t, "outer", s.install.Index(layouttest.Index{Children: []ocispec.Descriptor{inner, image("arm", []byte("for arm"))}}))
	s.install.Tag(outer, "multi")
	gone := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("nowhere"), Size: 7}
	s.install.Add(s.named(t, "referrer", s.install.Image(layouttest.Image{ArtifactType: "application/x-sbom", Subject: &gone, Layers: [][]byte{[]byte("an SBOM")}})))
	s.install.Write()
	module := s.Layout("modules/x")
	module.Tag(module.Image(layouttest.Image{Name: "module", Layers: [][]byte{shared}}), "v1")
	module.Write()
	return s
}

// named records names for a manifest, its config and its layers.
func (s *sample) named(t testing.TB, name string, d ocispec.Descriptor) ocispec.Descriptor {
	t.Helper()
	s.digests[name], s.types[name] = d.Digest, d.MediaType
	body, err := os.ReadFile(s.install.BlobPath(d.Digest))
	if err != nil {
		t.Fatal(err)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatal(err)
	}
	if m.Config.Digest == "" {
		return d
	}
	s.digests[name+".config"], s.types[name+".config"] = m.Config.Digest, m.Config.MediaType
	for i, l := range m.Layers {
		layer := fmt.Sprintf("%s.layer%d", name, i)
		s.digests[layer], s.types[layer] = l.Digest, l.MediaType
	}
	return d
}

func open(t testing.TB, sources ...string) *layoutstore.Tree {
	t.Helper()
	tree, err := layoutstore.Open(context.Background(), layoutstore.Options{Sources: sources})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func run(t testing.TB, sources ...string) *verify.Report {
	t.Helper()
	report, err := verify.Run(context.Background(), open(t, sources...).Snapshot(), verify.Options{Jobs: 2})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

var amounts = regexp.MustCompile(`; \d+ files?, [^,]* read`)

// text returns the text of a report. It replaces the directory with DIR, and removes how many files
// and bytes were read.
func text(t testing.TB, r *verify.Report, dir string) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	return amounts.ReplaceAllString(strings.ReplaceAll(b.String(), dir, "DIR"), "")
}

// unknown returns the last line of a report if the tags of a place are unknown.
func unknown(place string, tags, repositories int) string {
	return fmt.Sprintf("incomplete or damaged: %s cannot be read: its tags are unknown. %d tags of %d other repositories are complete\n", place, tags, repositories)
}

const isComplete = "complete: 6 tags of 3 repositories\n"

func TestCompleteTree(t *testing.T) {
	dir := t.TempDir()
	s := newSample(t, dir)
	packed, cut := t.TempDir(), t.TempDir()
	s.Bundle(packed)
	s.Archive(filepath.Join(cut, "all.tar"), layouttest.Archive{})
	layouttest.Split(t, filepath.Join(cut, "all.tar"), 1000)
	for name, source := range map[string]string{"tree": dir, "archives": packed, "chunks": cut} {
		r := run(t, source)
		if got := text(t, r, source); got != isComplete || !r.Whole {
			t.Errorf("%s: %v\n%s", name, r.Whole, got)
		}
		if r.Files != 20 {
			t.Errorf("%s: the report counts %d files, want 20", name, r.Files)
		}
	}
}

// faults has the ways in which spoil can damage a file, by name. The function changes the content; nil means
// to remove the file.
var faults = map[string]func(body []byte) []byte{
	"missing": nil,
	"short":   func(b []byte) []byte { return b[:len(b)-1] },
	"empty":   func([]byte) []byte { return nil },
	"long":    func(b []byte) []byte { return append(b, '\n') },
	"flipped": func(b []byte) []byte { b[len(b)/2] ^= 0x10; return b },
}

// spoil damages a file, and returns the kind and reason that a report should state.
func spoil(t testing.TB, file, fault string) (kind, reason string) {
	t.Helper()
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	change := faults[fault]
	if change == nil {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		return "incomplete", "missing"
	}
	size := len(body)
	body = change(body)
	if err := os.WriteFile(file, body, 0o644); err != nil {
		t.Fatal(err)
	}
	if len(body) == size {
		return "damaged", "checksum mismatch: content is " + digest.FromBytes(body).String()
	}
	return "damaged", fmt.Sprintf("%d bytes, the descriptor says %d", len(body), size)
}

// TestOneDamagedBlob damages one blob of every kind in every way. The report has only this problem, the
// affected tags, and the blobs that are unreferenced now.
func TestOneDamagedBlob(t *testing.T) {
	for blob, want := range map[string]struct {
		tags []string
		idle []string // blobs that are unreferenced without this blob
	}{
		"one.layer0":      {tags: []string{"stable", "v1", "v2"}},
		"one.layer1":      {tags: []string{"stable", "v1"}},
		"two.config":      {tags: []string{"v2"}},
		"amd.config":      {tags: []string{"multi"}},
		"arm.layer0":      {tags: []string{"multi"}},
		"referrer.layer0": {},
		"referrer.config": {},
		"one":             {tags: []string{"stable", "v1"}, idle: []string{"one.config", "one.layer1"}},
		"two":             {tags: []string{"v2"}, idle: []string{"two.config"}},
		"arm":             {tags: []string{"multi"}, idle: []string{"arm.config", "arm.layer0"}},
		"amd":             {tags: []string{"multi"}, idle: []string{"amd.config", "amd.layer0"}},
		"inner":           {tags: []string{"multi"}, idle: []string{"amd", "amd.config", "amd.layer0"}},
		"outer":           {tags: []string{"multi"}, idle: []string{"amd", "amd.config", "amd.layer0", "arm", "arm.config", "arm.layer0", "inner"}},
		"referrer":        {idle: []string{"referrer.config", "referrer.layer0"}},
	} {
		for fault := range faults {
			t.Run(blob+" "+fault, func(t *testing.T) {
				dir := t.TempDir()
				s := newSample(t, dir)
				file := s.install.BlobPath(s.digests[blob])
				kind, reason := spoil(t, file, fault)
				tags, count := "no tag", ""
				if n := len(want.tags); n == 1 {
					tags, count = want.tags[0], ": 1 tag of 1 repository"
				} else if n > 1 {
					tags, count = strings.Join(want.tags, ", "), fmt.Sprintf(": %d tags of 1 repository", n)
				}
				expect := fmt.Sprintf("%s: DIR/install: %s%s\n  deckhouse/ee/install: %s: %s: %s\nincomplete or damaged: %d of 6 tags of 3 repositories\n",
					kind, reason, count, tags, strings.ReplaceAll(file, dir, "DIR"), s.types[blob], len(want.tags))
				r := run(t, dir)
				if diff := cmp.Diff(want.idle, s.names(r.Unreferenced)); diff != "" {
					t.Errorf("unreferenced: %s", diff)
				}
				r.Unreferenced = nil
				if diff := cmp.Diff(expect, text(t, r, dir)); diff != "" || r.Whole {
					t.Errorf("complete: %v\n%s", r.Whole, diff)
				}
			})
		}
	}
}

// names returns the names of unreferenced blobs, sorted. If a digest has several names, it returns only the
// first one.
func (s *sample) names(all []verify.Unreferenced) (names []string) {
	for _, u := range all {
		var of []string
		for name, d := range s.digests {
			if d == u.Digest {
				of = append(of, name)
			}
		}
		slices.Sort(of)
		names = append(names, strings.Join(of[:1], ""))
	}
	slices.Sort(names)
	return names
}

func TestReportsOfDamagedTrees(t *testing.T) {
	index := func(s *sample) string { return filepath.Join(s.install.Dir(), "index.json") }
	replace := func(t *testing.T, file, old, new string) {
		body, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(body, []byte(old)) {
			t.Fatalf("%s: want a file that contains %q, to replace this text; error %v", file, old, err)
		}
		if err := os.WriteFile(file, bytes.Replace(body, []byte(old), []byte(new), 1), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		change func(t *testing.T, s *sample)
		want   string
	}{
		"half an index.json": {
			func(t *testing.T, s *sample) {
				if err := os.Truncate(index(s), 100); err != nil {
					t.Fatal(err)
				}
			},
			"damaged: DIR/install/index.json: not an OCI image index: unexpected end of JSON input\n" + unknown("DIR/install/index.json", 2, 2),
		},
		"no index.json": {
			func(t *testing.T, s *sample) {
				if err := os.Remove(index(s)); err != nil {
					t.Fatal(err)
				}
			},
			"incomplete: DIR/install: blobs of an OCI layout without its index.json\n" + unknown("DIR/install", 2, 2),
		},
		"an illegal tag": {
			func(t *testing.T, s *sample) { replace(t, index(s), `"v2"`, `"-v2"`) },
			"illegal-name: DIR/install: not a legal tag; served by digest only: 1 tag of 1 repository\n" +
				"  deckhouse/ee/install: -v2\nincomplete or damaged: 1 of 5 tags of 3 repositories\n",
		},
		"a descriptor with a wrong size": {
			func(t *testing.T, s *sample) {
				at := s.install.BlobPath(s.digests["two"])
				info, err := os.Stat(at)
				if err != nil {
					t.Fatal(err)
				}
				body, err := os.ReadFile(index(s))
				if err != nil {
					t.Fatal(err)
				}
				two := regexp.MustCompile(fmt.Sprintf(`(%s",\s*"size": )%d`, s.digests["two"], info.Size()))
				if err := os.WriteFile(index(s), two.ReplaceAll(body, []byte("${1}9999")), 0o644); err != nil {
					t.Fatal(err)
				}
			},
			"damaged: DIR/install: SIZE bytes, the descriptor says 9999: 1 tag of 1 repository\n" +
				"  deckhouse/ee/install: v2: DIR/install/blobs/sha256/TWO: application/vnd.oci.image.manifest.v1+json\nincomplete or damaged: 1 of 6 tags of 3 repositories\n",
		},
		"a directory with an illegal name": {
			func(t *testing.T, s *sample) {
				if err := os.Rename(s.install.Dir(), filepath.Join(s.Dir(), "Install")); err != nil {
					t.Fatal(err)
				}
			},
			"illegal-name: DIR/Install: the path is not a legal repository name\nincomplete or damaged: 0 of 2 tags of 2 repositories\n",
		},
		"a missing foreign layer": {
			func(t *testing.T, s *sample) {
				l := s.Layout("foreign")
				l.Tag(l.Image(layouttest.Image{Layers: [][]byte{[]byte("foreign")}, LayerMediaType: ocispec.MediaTypeImageLayerNonDistributable}), "v1") //nolint:staticcheck // deprecated, but sources may have it
				l.Write()
				if err := os.Remove(l.BlobPath(digest.FromString("foreign"))); err != nil {
					t.Fatal(err)
				}
			},
			"1 non-distributable layer missing, as their media type allows; clients must fetch them elsewhere:\n" +
				"  deckhouse/ee/foreign: v1: " + digest.FromString("foreign").String() + "\ncomplete: 7 tags of 4 repositories\n",
		},
		"an unreferenced blob": {
			func(t *testing.T, s *sample) { s.install.Blob("", []byte("nothing needs this")) },
			"1 blob unreferenced, 18 B:\n  DIR/install/blobs/sha256/" + digest.FromString("nothing needs this").Encoded() + "\n" + isComplete,
		},
		"a damaged unreferenced blob": {
			func(t *testing.T, s *sample) {
				s.digests["idle"] = s.install.Blob("", []byte("nothing needs this")).Digest
				spoil(t, s.install.BlobPath(s.digests["idle"]), "flipped")
			},
			"damaged: DIR/install: checksum mismatch: content is " + digest.FromString("nothing nueds this").String() + "\n" +
				"  deckhouse/ee/install: no tag: DIR/install/blobs/sha256/" + digest.FromString("nothing needs this").Encoded() + "\n" +
				"1 blob unreferenced, 18 B:\n  DIR/install/blobs/sha256/" + digest.FromString("nothing needs this").Encoded() + "\n" +
				"incomplete or damaged: 0 of 6 tags of 3 repositories\n",
		},
		"a compressed archive": {
			func(t *testing.T, s *sample) {
				if err := os.WriteFile(filepath.Join(s.Dir(), "more.tar.gz"), []byte("\x1f\x8b"), 0o644); err != nil {
					t.Fatal(err)
				}
			},
			"limited: DIR/more.tar.gz: not read: it is compressed: unpack it to a plain .tar: gunzip more.tar.gz\n" +
				unknown("DIR/more.tar.gz", 6, 3),
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := newSample(t, dir)
			info, err := os.Stat(s.install.BlobPath(s.digests["two"]))
			if err != nil {
				t.Fatal(err)
			}
			c.change(t, s)
			want := strings.NewReplacer("SIZE", fmt.Sprint(info.Size()), "TWO", s.digests["two"].Encoded()).Replace(c.want)
			r := run(t, dir)
			if diff := cmp.Diff(want, text(t, r, dir)); diff != "" {
				t.Error(diff)
			}
			if r.Whole != strings.Contains("\n"+want, "\ncomplete:") {
				t.Errorf("complete: %v", r.Whole)
			}
		})
	}
}

func TestConflictsAndDamagedCopies(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	a, b := newSample(t, one), newSample(t, two)
	b.install.Tag(b.install.Image(layouttest.Image{Name: "newer"}), "v2")
	b.install.Write()
	r := run(t, one, two)
	if !r.Whole || len(r.Conflicts) != 1 || r.Conflicts[0].Tag() != "v2" || len(r.Causes) > 0 || len(r.Unreferenced) > 0 {
		t.Errorf("%+v", r)
	}
	// Every copy of a blob is read. A damaged copy is reported, although another copy is intact.
	_, reason := spoil(t, a.install.BlobPath(a.digests["one.layer0"]), "flipped")
	r = run(t, one, two)
	if r.Whole || len(r.Causes) != 1 || r.Causes[0].Path != filepath.Join(one, "install") || r.Causes[0].Reason != reason {
		t.Errorf("%+v", r.Causes)
	}
	// If the damaged copy is removed, the intact copy is enough.
	if err := os.Remove(a.install.BlobPath(a.digests["one.layer0"])); err != nil {
		t.Fatal(err)
	}
	if r = run(t, one, two); !r.Whole {
		t.Errorf("%+v", r.Causes)
	}
}

func TestNothingToVerify(t *testing.T) {
	dir := t.TempDir()
	r := run(t, dir)
	want := "incomplete: no repositories in the sources: nothing was verified\nincomplete or damaged: there are no known tags\n"
	if got := text(t, r, dir); r.Whole || got != want {
		t.Errorf("%v\n%s", r.Whole, got)
	}
}

// A layout can belong to two repositories, because sources have different roots. Its blobs are read only
// once, but their problems are reported in both repositories.
func TestLayoutOfTwoRepositories(t *testing.T) {
	one, two := t.TempDir(), t.TempDir()
	a := newSample(t, one)
	newSample(t, two)
	_, reason := spoil(t, a.install.BlobPath(a.digests["two.config"]), "flipped")
	tree, err := layoutstore.Open(context.Background(), layoutstore.Options{Sources: []string{one, two},
		Roots: []string{"x", "y"}, SourceRoots: map[string][]string{two: {"y"}}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := verify.Run(context.Background(), tree.Snapshot(), verify.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Files != 40 {
		t.Errorf("the report counts %d files, want 40", r.Files)
	}
	var in []string
	for _, c := range r.Causes {
		for _, g := range c.Problems {
			if g.Reason != reason {
				t.Errorf("%+v", g)
			}
			in = append(in, g.Repository)
		}
	}
	if diff := cmp.Diff([]string{"x/install", "y/install"}, in); diff != "" {
		t.Error(diff)
	}
}

func TestRunCanBeCancelled(t *testing.T) {
	dir := t.TempDir()
	newSample(t, dir)
	s := open(t, dir).Snapshot()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	// The context ends at the first read of a blob.
	_, err := verify.Run(ctx, s, verify.Options{Progress: reading(func(int) { cancel() })})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Run with a context that ends during a read: got error %v, want context.Canceled", err)
	}
}

// reading is a Progress that calls the function at each read.
type reading func(n int)

func (reading) Begin(int, int64) {}
func (r reading) Read(n int)     { r(n) }

func TestProgressCountsAllBytes(t *testing.T) {
	dir := t.TempDir()
	newSample(t, dir)
	var p counting
	r, err := verify.Run(context.Background(), open(t, dir).Snapshot(), verify.Options{Jobs: 1, Progress: &p})
	if err != nil {
		t.Fatal(err)
	}
	if p.begun != 1 || p.files != r.Files || p.total != r.Bytes || p.read != p.total || p.total == 0 {
		t.Errorf("progress = %+v, want one Begin with %d files and %d bytes, and Read of all these bytes", p, r.Files, r.Bytes)
	}
}

type counting struct {
	begun, files int
	total, read  int64
}

func (c *counting) Begin(files int, bytes int64) { c.begun, c.files, c.total = c.begun+1, files, bytes }
func (c *counting) Read(n int)                   { c.read += int64(n) }
