package importer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer"
	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// manyTags writes an archive with one repository. Each of its n tags has its own image.
func manyTags(t testing.TB, n int, text string) (dir string) {
	t.Helper()
	blob := func(data []byte) (layouttest.Entry, ocispec.Descriptor) {
		d := digest.FromBytes(data)
		return layouttest.File("app/blobs/sha256/"+d.Encoded(), data), ocispec.Descriptor{Digest: d, Size: int64(len(data))}
	}
	config, described := blob([]byte("{}"))
	described.MediaType = ocispec.MediaTypeImageConfig
	entries := []layouttest.Entry{config}
	ix := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex}
	ix.SchemaVersion = 2
	for i := range n {
		m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: described, Layers: []ocispec.Descriptor{}, Annotations: map[string]string{"text": fmt.Sprint(text, i)}}
		m.SchemaVersion = 2
		data, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		manifest, d := blob(data)
		d.MediaType, d.Annotations = m.MediaType, map[string]string{layouttest.AnnotationShortTag: fmt.Sprintf("v%d", i)}
		entries, ix.Manifests = append(entries, manifest), append(ix.Manifests, d)
	}
	data, err := json.Marshal(ix)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	layouttest.Tar(t, filepath.Join(dir, "x.tar"), append(entries, layouttest.File("app/index.json", data))...)
	return dir
}

// If an import replaces many tags, each old manifest stays in the index without a tag.
func TestImportThatReplacesManyTags(t *testing.T) {
	const n = 300
	store := filepath.Join(importertest.Scratch(t), "store")
	if r := importertest.Imported(t, store, manyTags(t, n, "old ")); r.Tags != (importer.Tags{New: n}) {
		t.Fatalf("%+v", r.Tags)
	}
	if r := importertest.Imported(t, store, manyTags(t, n, "new ")); r.Tags != (importer.Tags{Replaced: n}) {
		t.Fatalf("%+v", r.Tags)
	}
	tagged := map[string]int{}
	for _, d := range indexOf(t, store, "app") {
		tagged[d.Annotations[layouttest.AnnotationShortTag]]++
	}
	if len(tagged) != n+1 || tagged[""] != n || tagged["v7"] != 1 {
		t.Errorf("the index has %d tags and %d manifests without a tag, want %d of each", len(tagged)-1, tagged[""], n)
	}
}

// BenchmarkImport imports many tags into one repository, and then the same tags with other digests.
// Four times as many tags should take at most 4.4 times as long; the benchmark does not check this.
func BenchmarkImport(b *testing.B) {
	sizes := []int{2_500, 10_000}
	if os.Getenv("LAYOUTPROXY_TEST_ALL") != "" {
		sizes = append(sizes, 25_000, 100_000)
	}
	for _, n := range sizes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			old, fresh := manyTags(b, n, "old "), manyTags(b, n, "new ")
			b.ResetTimer()
			for range b.N {
				i, err := importertest.NewWith(importer.Options{Store: filepath.Join(b.TempDir(), "store")})
				if err != nil {
					b.Fatal(err)
				}
				for _, bundle := range []string{old, fresh} {
					if _, err := i.Import(context.Background(), bundle); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*2*n), "ns/tag")
		})
	}
}
