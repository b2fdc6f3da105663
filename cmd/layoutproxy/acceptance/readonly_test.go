package acceptance

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// TestReadOnlyConformance runs the suite in read-only mode on every repository of the sample,
// without a front. The suite does not compare content.
func TestReadOnlyConformance(t *testing.T) {
	s, images := serve(t, bundleDir), sample(t)
	for _, repository := range repositories(images) {
		t.Run(repository, func(t *testing.T) {
			tags := tags(images, repository)
			manifests, blobs := digests(t, images, repository)
			got := conformance(t, s.registry, "OCI_REPO1="+repository, "OCI_API_PUSH=false",
				"OCI_API_BLOBS_DELETE=false", "OCI_API_MANIFESTS_DELETE=false", "OCI_API_TAGS_DELETE=false",
				"OCI_RO_DATA_TAGS="+strings.Join(tags, " "), "OCI_RO_DATA_MANIFESTS="+join(manifests),
				"OCI_RO_DATA_BLOBS="+join(blobs), "OCI_RO_DATA_REFERRERS="+join(manifests))
			t.Log(got.counts)
			if got.result != "Pass" || got.counts["FAIL"] != 0 || got.counts["Error"] != 0 {
				t.Errorf("the suite has the result %s, want Pass, without a FAIL or an Error\n%s", got.result, got.output)
			}
			// For each item in its configuration, the suite tests HEAD and GET.
			if least := 2 * (len(tags) + len(manifests) + len(blobs)); got.counts["Pass"] < least {
				t.Errorf("%d tests of the suite passed, want at least %d", got.counts["Pass"], least)
			}
		})
	}
}

// digests returns the digests of the tagged manifests in a repository, and of their blobs.
func digests(t *testing.T, images []image, repository string) (manifests, blobs []digest.Digest) {
	t.Helper()
	tagged, all := map[digest.Digest]bool{}, contents{}
	for _, i := range images {
		if i.repository == repository && !i.discovery() {
			tagged[i.digest] = true
			maps.Copy(all, contentOf(t, i.layout(), i.digest))
		}
	}
	maps.DeleteFunc(all, func(d digest.Digest, _ []byte) bool { return tagged[d] })
	return slices.Sorted(maps.Keys(tagged)), slices.Sorted(maps.Keys(all))
}

func join(digests []digest.Digest) string {
	var words []string
	for _, d := range digests {
		words = append(words, d.String())
	}
	return strings.Join(words, " ")
}
