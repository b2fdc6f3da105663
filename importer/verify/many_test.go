package verify_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/verify"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// manyMissing writes an archive with indexes that list n tagged manifests. The manifests themselves
// are missing. Each index has as many entries as an index may have.
func manyMissing(t testing.TB, n int) (dir string) {
	const most = 100_000
	var entries []layouttest.Entry
	for from := 0; from < n; from += most {
		ix := ocispec.Index{Manifests: make([]ocispec.Descriptor, min(most, n-from))}
		ix.SchemaVersion = 2
		for i := range ix.Manifests {
			ix.Manifests[i] = ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(fmt.Sprint(from + i)), Size: 7,
				Annotations: map[string]string{layouttest.AnnotationShortTag: fmt.Sprintf("v%d", from+i)}}
		}
		entries = append(entries, layouttest.File(fmt.Sprintf("app%d/index.json", from/most), encoded(t, ix)))
	}
	dir = t.TempDir()
	layouttest.Tar(t, filepath.Join(dir, "x.tar"), entries...)
	return dir
}

// manyWrong writes an archive with n layers of one image and n unreferenced blobs. All these blobs are
// damaged: their content does not match their digests.
func manyWrong(t testing.TB, n int) (dir string) {
	config := []byte("{}")
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: ocispec.Descriptor{MediaType: ocispec.MediaTypeImageConfig, Digest: digest.FromBytes(config), Size: 2}}
	m.SchemaVersion = 2
	blob := func(d digest.Digest, data []byte) layouttest.Entry {
		return layouttest.File("app/blobs/sha256/"+d.Encoded(), data)
	}
	entries := []layouttest.Entry{blob(m.Config.Digest, config)}
	for i := range 2 * n {
		d := digest.FromString(fmt.Sprint(i))
		if i%2 == 0 {
			m.Layers = append(m.Layers, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: d, Size: 7})
		}
		entries = append(entries, blob(d, fmt.Appendf(nil, "x%06d", i)))
	}
	body := encoded(t, m)
	ix := ocispec.Index{Manifests: []ocispec.Descriptor{{MediaType: m.MediaType, Digest: digest.FromBytes(body), Size: int64(len(body)),
		Annotations: map[string]string{layouttest.AnnotationShortTag: "v1"}}}}
	ix.SchemaVersion = 2
	dir = t.TempDir()
	layouttest.Tar(t, filepath.Join(dir, "x.tar"), append(entries, blob(digest.FromBytes(body), body), layouttest.File("app/index.json", encoded(t, ix)))...)
	return dir
}

func encoded(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Each list of a report has only the first 1,000 problems or blobs, but the report counts all of them.
func TestReportListsAtMost1000Entries(t *testing.T) {
	dir := manyMissing(t, 1200)
	r := run(t, dir)
	if c := r.Causes[0]; len(r.Causes) != 1 || len(c.Problems) != 1000 || c.Count != 1200 || c.Tags != 1200 || r.TagsAffected != 1200 || r.Omitted.Problems != 200 {
		t.Errorf("got %d causes, want 1; it lists %d of %d problems, want 1000 of 1200, and %d tags, want 1200; %d tags affected, want 1200; omitted %+v, want 200 problems", len(r.Causes), len(c.Problems), c.Count, c.Tags, r.TagsAffected, r.Omitted)
	}
	for _, line := range []string{"\n  and 1180 more: --output json lists only the first 1000 of all 1200\nand 200 problems more, not listed: fix these first, and verify again\n", "\nincomplete or damaged: 1200 of 1200 tags"} {
		if got := text(t, r, dir); !strings.Contains(got, line) {
			t.Errorf("text of the report: want the line %q, got the end\n%s", line, got[len(got)-500:])
		}
	}

	r = run(t, manyWrong(t, 1100))
	if len(r.Causes) != 1000 || r.Omitted.Problems != 1200 || r.TagsAffected != 1 || r.Causes[999].Count != 1 { // each damaged blob has different content, and so its own cause
		t.Errorf("got %d causes, want 1000; %d affected tags, want 1; omitted %+v, want 1200 problems", len(r.Causes), r.TagsAffected, r.Omitted)
	}
	if len(r.Unreferenced) != 1000 || r.Omitted.Unreferenced != 100 || r.Omitted.UnreferencedBytes != 700 {
		t.Errorf("got %d unreferenced blobs, want 1000; omitted %+v, want 100 blobs with 700 bytes", len(r.Unreferenced), r.Omitted)
	}
	if got, line := text(t, r, dir), "\n1100 blobs unreferenced, 7.7 kB:\n"; !strings.Contains(got, line) {
		t.Errorf("text of the report: want the line %q, got the end\n%s", line, got[len(got)-500:])
	}
}

// The time for a report grows linearly with the number of problems. To check this, compare the results for
// two sizes: four times as many problems may take at most 4.4 times as long.
func BenchmarkVerify(b *testing.B) {
	missing, wrong := []int{5_000, 20_000}, []int{5_000, 20_000}
	if os.Getenv("LAYOUTPROXY_TEST_ALL") != "" {
		missing = append(missing, 100_000, 400_000)
	}
	for _, kind := range []struct {
		name  string
		make  func(testing.TB, int) string
		sizes []int
		tags  func(n int) int // returns the expected number of affected tags
	}{
		{"missing", manyMissing, missing, func(n int) int { return n }},
		{"wrong", manyWrong, wrong, func(int) int { return 1 }},
	} {
		for _, n := range kind.sizes {
			b.Run(fmt.Sprintf("%s/%d", kind.name, n), func(b *testing.B) {
				tree := open(b, kind.make(b, n))
				b.ReportAllocs()
				b.ResetTimer()
				for range b.N {
					r, err := verify.Run(context.Background(), tree.Snapshot(), verify.Options{Jobs: 1})
					if err != nil || r.TagsAffected != kind.tags(n) {
						b.Fatal(r.TagsAffected, err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/finding")
			})
		}
	}
}
