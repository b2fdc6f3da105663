package acceptance

import (
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestRegctlCopiesImages(t *testing.T) {
	regctl, s, images := tool(t, "regctl"), serve(t, bundleDir), sample(t)
	for _, test := range []struct {
		name string
		also []digest.Digest // other manifests in the copy: referrers, and images of digest tags
	}{
		{sampleRoot + "/install:v1.69.3", nil}, // an image with Docker's media types
		{sampleRoot + "/modules/console:v1.1.0", nil},
		{plugin, nil},
		{installer, []digest.Digest{sbom}},
		{attested, []digest.Digest{pick(t, images, attestation).digest}},
	} {
		t.Run(test.name, func(t *testing.T) {
			i := pick(t, images, test.name)
			dir := filepath.Join(t.TempDir(), "copy")
			run(t, regctl, "--host", "reg="+s.registry+",tls=disabled",
				"image", "copy", "--referrers", "--digest-tags", i.reference(s), "ocidir://"+dir+":copy")
			if got := tagged(t, layout(dir), "copy"); got != i.digest {
				t.Errorf("the copy has the digest %s, want %s", got, i.digest)
			}
			all := append([]digest.Digest{i.digest}, test.also...)
			contentOf(t, i.layout(), all...).compare(t, test.name, contentOf(t, layout(dir), all...))
		})
	}
}

// regctl must also copy the digest tag of an attestation, because clients find it by this tag.
func TestRegctlCopiesDigestTags(t *testing.T) {
	regctl, s, images := tool(t, "regctl"), serve(t, bundleDir), sample(t)
	dir := filepath.Join(t.TempDir(), "copy")
	run(t, regctl, "--host", "reg="+s.registry+",tls=disabled",
		"image", "copy", "--digest-tags", pick(t, images, attested).reference(s), "ocidir://"+dir+":copy")
	want := pick(t, images, attestation)
	if got := tagged(t, layout(dir), want.tag); got != want.digest {
		t.Errorf("the copied tag %s has the digest %s, want %s", want.tag, got, want.digest)
	}
}
