package acceptance

import (
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestOrasCopiesImages(t *testing.T) {
	oras, s, images := tool(t, "oras"), serve(t, bundleDir), sample(t)
	for _, test := range []struct {
		name      string
		referrers []digest.Digest
	}{
		{sampleRoot + "/install:v1.69.3", nil}, // an image with Docker's media types
		{plugin, nil},
		{attestation, nil},
		{installer, []digest.Digest{sbom}},
	} {
		t.Run(test.name, func(t *testing.T) {
			i := pick(t, images, test.name)
			dir := filepath.Join(t.TempDir(), "copy")
			run(t, oras, "copy", "-r", "--from-plain-http", i.reference(s), "--to-oci-layout", dir+":copy")
			if got := tagged(t, layout(dir), "copy"); got != i.digest {
				t.Errorf("the copy has the digest %s, want %s", got, i.digest)
			}
			all := append([]digest.Digest{i.digest}, test.referrers...)
			contentOf(t, i.layout(), all...).compare(t, test.name, contentOf(t, layout(dir), all...))
		})
	}
}

func TestOrasDiscoversReferrers(t *testing.T) {
	oras, s := tool(t, "oras"), serve(t, bundleDir)
	i := pick(t, sample(t), installer)
	refers := parse(t, blob(t, i.layout(), sbom))
	if refers.Subject == nil || refers.Subject.Digest != i.digest {
		t.Fatalf("the manifest %s has the subject %v, want %s", sbom, refers.Subject, i.digest)
	}
	for _, test := range []struct {
		filter string
		want   int
	}{
		{"", 1},
		{refers.ArtifactType, 1},
		{"application/vnd.example.other", 0},
	} {
		args := []string{"discover", "--plain-http", "--format", "json"}
		if test.filter != "" {
			args = append(args, "--artifact-type", test.filter)
		}
		var found struct {
			Digest    digest.Digest        `json:"digest"`
			Referrers []ocispec.Descriptor `json:"referrers"`
		}
		out := run(t, oras, append(args, i.reference(s))...)
		if err := json.Unmarshal([]byte(out), &found); err != nil {
			t.Fatalf("cannot parse what oras discover printed: %v: %s", err, out)
		}
		if found.Digest != i.digest || len(found.Referrers) != test.want {
			t.Fatalf("oras discover with the artifact type %q: want the image %s with %d referrers, got %s", test.filter, i.digest, test.want, out)
		}
		for _, d := range found.Referrers {
			if d.Digest != sbom || d.ArtifactType != refers.ArtifactType {
				t.Errorf("oras discover with the artifact type %q found %+v, want the SBOM with its artifact type", test.filter, d)
			}
		}
	}
}
