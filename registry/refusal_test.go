package registry_test

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

func flip(tb testing.TB, path string) {
	tb.Helper()
	data := layouttest.ReadFile(tb, path)
	data[len(data)/2] ^= 1
	overwrite(tb, path, data)
}

func overwrite(tb testing.TB, path string, data []byte) {
	tb.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		tb.Fatal(err)
	}
}

func remove(tb testing.TB, path string) {
	tb.Helper()
	if err := os.Remove(path); err != nil {
		tb.Fatal(err)
	}
}

// damaged serves two tagged images. A test damages one image, and leaves the other intact.
type damaged struct {
	*server
	layout                  *layouttest.Layout
	manifest, config, layer ocispec.Descriptor
	other                   digest.Digest
}

// newDamaged creates the tree, calls harm to damage the image, and serves the tree.
func newDamaged(tb testing.TB, harm func(*damaged)) *damaged {
	tb.Helper()
	l := layouttest.New(tb, tb.TempDir()).Layout("app")
	d := &damaged{server: &server{TB: tb}, layout: l}
	d.manifest = l.Image(layouttest.Image{Name: "harmed", LayerSizes: []int64{5000}})
	parsed := decode[ocispec.Manifest](tb, response{body: layouttest.ReadFile(tb, l.BlobPath(d.manifest.Digest))})
	d.config, d.layer = parsed.Config, parsed.Layers[0]
	d.other = image(l, "good", "good")
	harm(d)
	if _, err := os.Stat(l.Dir() + "/index.json"); err != nil {
		l.Tag(d.manifest, "v1")
		l.Write()
	}
	d.server = serveBare(tb, l.Dir()+"/..")
	return d
}

// wantRefused checks that the server refuses GET and HEAD requests for the content, and that it
// answers with the given code and a reason. The refusal must not be cacheable, and Options.Refused must be called.
func (d *damaged) wantRefused(kind, reference, code string, dg digest.Digest) {
	d.Helper()
	path := "/v2/app/" + kind + "/" + reference
	for _, header := range [][]string{nil, {"Range", "bytes=0-"}, {"If-None-Match", `"` + dg.String() + `"`}} {
		d.refusals()
		if detail, _ := d.get(path, header...).wantError(d, http.StatusNotFound, code).(string); !strings.Contains(detail, dg.String()) {
			d.Errorf("the error for %s has the detail %q, want the digest in it", path, detail)
		}
		d.head(path, header...).wantStatus(d, http.StatusNotFound)
		heard := d.refusals()
		if len(heard) != 2 {
			d.Errorf("%s: Options.Refused was called %d times for GET and HEAD, want twice", path, len(heard))
		}
		for _, r := range heard {
			if r.repository != "app" || r.reference != reference || r.err.Problem.Digest != dg || r.err.Problem.Reason == "" || r.err.Problem.Kind == "" {
				d.Errorf("%s: Options.Refused was called with %q, %q and %+v; want the requested repository, reference and digest, with a kind and a reason", path, r.repository, r.reference, r.err)
			}
		}
	}
}

// wantIntact checks that the intact image is served, that both tags are listed, and that
// Options.Refused is not called.
func (d *damaged) wantIntact() {
	d.Helper()
	d.refusals()
	if got := d.tags("app"); !slices.Equal(got, []string{"good", "v1"}) {
		d.Errorf("tags %q", got)
	}
	r := d.get("/v2/app/manifests/good")
	r.wantFile(d, d.other, layouttest.ReadFile(d, d.layout.BlobPath(d.other)))
	for _, blob := range decode[ocispec.Manifest](d, r).Layers {
		d.get("/v2/app/blobs/"+blob.Digest.String()).wantFile(d, blob.Digest, layouttest.ReadFile(d, d.layout.BlobPath(blob.Digest)))
	}
	if heard := d.refusals(); len(heard) > 0 {
		d.Errorf("Options.Refused was called for content that is served: %v; want no call", heard)
	}
}

// wantProblem checks that a check of the tree finds exactly one problem of the given kind.
func (d *damaged) wantProblem(kind layoutstore.Kind, dg digest.Digest) {
	d.Helper()
	problems := d.problems()
	if len(problems) != 1 {
		d.Fatalf("the problems are %v, want one", problems)
	}
	p := problems[0]
	if p.Kind != kind || p.Digest != dg || p.Repository != "app" || p.Tag() != "v1" || p.Reason == "" {
		d.Errorf("the problem is %+v, want one of the kind %s about %s", p, kind, dg)
	}
	if want := d.layout.BlobPath(dg); p.Path != want { // the problem has this path even if the file is missing
		d.Errorf("the problem is at %q, want %q", p.Path, want)
	}
}

func TestDamagedBlobs(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(tb testing.TB, path string){
		"truncated": func(tb testing.TB, path string) { overwrite(tb, path, layouttest.ReadFile(tb, path)[:4999]) },
		"emptied":   func(tb testing.TB, path string) { overwrite(tb, path, nil) },
		"longer":    func(tb testing.TB, path string) { overwrite(tb, path, append(layouttest.ReadFile(tb, path), 'x')) },
		"a directory": func(tb testing.TB, path string) {
			remove(tb, path)
			if err := os.Mkdir(path, 0o755); err != nil {
				tb.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDamaged(t, func(d *damaged) { harm(t, d.layout.BlobPath(d.layer.Digest)) })
			d.wantRefused("blobs", d.layer.Digest.String(), "BLOB_UNKNOWN", d.layer.Digest)
			d.wantIntact()
			d.get("/v2/app/manifests/v1").wantStatus(t, http.StatusOK)
			d.wantProblem(layoutstore.Damaged, d.layer.Digest)
		})
	}
}

func TestMissingBlobs(t *testing.T) {
	t.Parallel()
	for name, which := range map[string]func(*damaged) digest.Digest{
		"config": func(d *damaged) digest.Digest { return d.config.Digest },
		"layer":  func(d *damaged) digest.Digest { return d.layer.Digest },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDamaged(t, func(d *damaged) { remove(t, d.layout.BlobPath(which(d))) })
			d.wantIntact()
			d.wantProblem(layoutstore.Incomplete, which(d))
			d.wantRefused("blobs", which(d).String(), "BLOB_UNKNOWN", which(d))
		})
	}
}

func TestDamagedManifests(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		harm func(tb testing.TB, path string)
		kind layoutstore.Kind
	}{
		"flipped":   {flip, layoutstore.Damaged},
		"truncated": {func(tb testing.TB, path string) { overwrite(tb, path, layouttest.ReadFile(tb, path)[:100]) }, layoutstore.Damaged},
		"longer":    {func(tb testing.TB, path string) { overwrite(tb, path, append(layouttest.ReadFile(tb, path), '\n')) }, layoutstore.Damaged},
		"emptied":   {func(tb testing.TB, path string) { overwrite(tb, path, nil) }, layoutstore.Damaged},
		"too large": {func(tb testing.TB, path string) { overwrite(tb, path, make([]byte, 8<<20+1)) }, layoutstore.Limited},
		"missing":   {func(tb testing.TB, path string) { remove(tb, path) }, layoutstore.Incomplete},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDamaged(t, func(d *damaged) { c.harm(t, d.layout.BlobPath(d.manifest.Digest)) })
			dg := d.manifest.Digest
			d.wantRefused("manifests", "v1", "MANIFEST_UNKNOWN", dg)
			d.wantRefused("manifests", dg.String(), "MANIFEST_UNKNOWN", dg)
			// If a manifest is refused, containerd requests it as a blob.
			d.wantRefused("blobs", dg.String(), "BLOB_UNKNOWN", dg)
			d.wantIntact()
			d.wantProblem(c.kind, dg)
		})
	}
}

func TestWrongSizeInTheIndex(t *testing.T) {
	t.Parallel()
	for name, off := range map[string]int64{"less": -1, "more": 1} {
		t.Run(name, func(t *testing.T) {
			d := newDamaged(t, func(d *damaged) { d.manifest.Size += off })
			d.wantRefused("manifests", "v1", "MANIFEST_UNKNOWN", d.manifest.Digest)
			d.wantRefused("manifests", d.manifest.Digest.String(), "MANIFEST_UNKNOWN", d.manifest.Digest)
			d.wantRefused("blobs", d.manifest.Digest.String(), "BLOB_UNKNOWN", d.manifest.Digest)
			d.wantIntact()
			d.wantProblem(layoutstore.Damaged, d.manifest.Digest)
		})
	}
}

// If one of two descriptors has the right size, the manifest is served, and a problem is reported.
func TestOneOfTwoSizesInTheIndex(t *testing.T) {
	t.Parallel()
	d := newDamaged(t, func(d *damaged) {
		lie := d.manifest
		lie.Size++
		d.layout.Tag(lie, "v1")
		d.layout.Add(d.manifest)
		d.layout.Write()
	})
	content := layouttest.ReadFile(t, d.layout.BlobPath(d.manifest.Digest))
	d.get("/v2/app/manifests/v1").wantFile(t, d.manifest.Digest, content)
	d.get("/v2/app/manifests/"+d.manifest.Digest.String()).wantFile(t, d.manifest.Digest, content)
	d.wantIntact()
	d.wantProblem(layoutstore.Damaged, d.manifest.Digest)
}

func TestDamagedChildren(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		harm func(d *damaged)
		kind layoutstore.Kind
	}{
		"missing":    {func(d *damaged) { remove(d, d.layout.BlobPath(d.manifest.Digest)) }, layoutstore.Incomplete},
		"flipped":    {func(d *damaged) { flip(d, d.layout.BlobPath(d.manifest.Digest)) }, layoutstore.Damaged},
		"wrong size": {func(d *damaged) { d.manifest.Size-- }, layoutstore.Damaged},
	} {
		t.Run(name, func(t *testing.T) {
			var index ocispec.Descriptor
			d := newDamaged(t, func(d *damaged) {
				c.harm(d)
				index = d.layout.Index(layouttest.Index{Children: []ocispec.Descriptor{d.manifest}})
				d.layout.Tag(index, "v1")
				d.layout.Write()
			})
			child := d.manifest.Digest
			d.wantRefused("manifests", child.String(), "MANIFEST_UNKNOWN", child)
			d.wantRefused("blobs", child.String(), "BLOB_UNKNOWN", child)
			d.get("/v2/app/manifests/v1").wantFile(t, index.Digest, layouttest.ReadFile(t, d.layout.BlobPath(index.Digest)))
			d.wantIntact()
			d.wantProblem(c.kind, child)
		})
	}
}

// If a manifest is damaged after it was read, it is served from memory or refused. The damaged
// content is never served under any name.
func TestManifestDamagedLater(t *testing.T) {
	t.Parallel()
	d := newDamaged(t, func(*damaged) {})
	file := d.layout.BlobPath(d.manifest.Digest)
	content := layouttest.ReadFile(t, file)
	d.get("/v2/app/manifests/v1").wantFile(t, d.manifest.Digest, content)
	flip(t, file)
	for _, path := range []string{"/v2/app/manifests/v1", "/v2/app/manifests/" + d.manifest.Digest.String(), "/v2/app/blobs/" + d.manifest.Digest.String()} {
		if r := d.get(path); r.status != http.StatusNotFound {
			r.wantFile(t, d.manifest.Digest, content)
		}
	}
}

func TestContradictoryBlobSizes(t *testing.T) {
	t.Parallel()
	var truthful digest.Digest
	d := newDamaged(t, func(d *damaged) {
		truthful = d.manifest.Digest
		d.layout.Tag(d.manifest, "truth")
		body := strings.Replace(string(layouttest.ReadFile(t, d.layout.BlobPath(truthful))), `"size":5000`, `"size":5010`, 1)
		d.manifest = d.layout.Blob(d.manifest.MediaType, []byte(body))
		d.layout.Tag(d.manifest, "v1")
		d.layout.Write()
	})
	content := layouttest.ReadFile(t, d.layout.BlobPath(d.layer.Digest))
	d.get("/v2/app/blobs/"+d.layer.Digest.String()).wantFile(t, d.layer.Digest, content)
	d.head("/v2/app/blobs/"+d.layer.Digest.String()).wantStatus(t, http.StatusOK)
	for _, dg := range []digest.Digest{d.manifest.Digest, truthful} {
		d.get("/v2/app/manifests/"+dg.String()).wantFile(t, dg, layouttest.ReadFile(t, d.layout.BlobPath(dg)))
	}
	d.wantProblem(layoutstore.Damaged, d.layer.Digest)
}

// A blob that no manifest refers to is served, because there is no size that it could contradict.
func TestUnreferencedBlobIsServed(t *testing.T) {
	t.Parallel()
	d := newDamaged(t, func(*damaged) {})
	content := []byte("nothing names it")
	blob := d.layout.Blob("", content)
	d.get("/v2/app/blobs/"+blob.Digest.String()).wantFile(t, blob.Digest, content)
	d.get("/v2/app/manifests/"+blob.Digest.String()).wantError(t, http.StatusNotFound, "MANIFEST_UNKNOWN")
	d.wantIntact()
	if got := d.problems(); len(got) != 0 {
		t.Errorf("problems %v", got)
	}
}

func TestUnknownNamesAreNotReported(t *testing.T) {
	t.Parallel()
	d := newDamaged(t, func(*damaged) {})
	d.get("/v2/app/blobs/"+unknownDigest).wantError(t, http.StatusNotFound, "BLOB_UNKNOWN")
	d.get("/v2/app/manifests/"+unknownDigest).wantError(t, http.StatusNotFound, "MANIFEST_UNKNOWN")
	d.get("/v2/app/manifests/v9").wantError(t, http.StatusNotFound, "MANIFEST_UNKNOWN")
	if heard := d.refusals(); len(heard) != 0 {
		t.Errorf("Options.Refused was called for unknown content: %v; want no call", heard)
	}
}

func TestBlobFromAnotherRepositoryIsUnknown(t *testing.T) {
	t.Parallel()
	tree := layouttest.New(t, t.TempDir())
	a, b := tree.Layout("a"), tree.Layout("b")
	blob := a.Blob("", []byte("of a"))
	a.Write()
	b.Write()
	s := serveBare(t, tree.Dir())
	s.get("/v2/a/blobs/"+blob.Digest.String()).wantFile(t, blob.Digest, []byte("of a"))
	s.get("/v2/b/blobs/"+blob.Digest.String()).wantError(t, http.StatusNotFound, "BLOB_UNKNOWN")
}
