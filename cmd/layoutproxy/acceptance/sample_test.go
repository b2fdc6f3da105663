package acceptance

import (
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// sampleRoot is the name of the repository of the sample's root layout.
const sampleRoot = "deckhouse/ee"

// sampleParent is the first part of sampleRoot. The sample's plugins are below it.
const sampleParent = "deckhouse"

// installer is an image of the sample. sbom is an untagged manifest with this image as its subject.
const (
	installer = sampleRoot + "/install:v1.70.1"
	sbom      = digest.Digest("sha256:a2a8b48e9dcb57cb333f35e37b01dac3e0facfaf99ebbb76668ac6c8968667ff")
)

// attested is an image of the sample. attestation is the digest tag of its attestation.
const (
	attestedHex = "7bc015c036d422fdda569989b95f38191514ed1cd759efae15e6ec206545fd7c"
	attested    = sampleRoot + ":" + attestedHex
	attestation = sampleRoot + ":sha256-" + attestedHex + ".att"
)

// plugin is an image index for two platforms. Its repository is beside the edition of the sample,
// because all editions share plugins.
const plugin = sampleParent + "/deckhouse-cli/plugins/stronghold:v1.0.0"

// image is an image of the sample that has a tag.
type image struct {
	repository, tag string
	digest          digest.Digest
	size            int64
}

// reference returns the reference by which a client pulls the image from a server.
func (i image) reference(s server) string { return s.registry + "/" + i.name() }

// name returns the reference without the registry, as REPOSITORY:TAG.
func (i image) name() string { return i.repository + ":" + i.tag }

// layout returns the layout directory of the image. For a discovery tag, it does not exist.
func (i image) layout() layout {
	below, ok := strings.CutPrefix(i.repository+"/", sampleRoot+"/")
	if !ok {
		below = strings.TrimPrefix(i.repository, sampleParent)
	}
	return layout(filepath.Join(bundleDir, below))
}

// discovery reports whether the tag is a discovery tag. Its repository then has no layout.
func (i image) discovery() bool { return !i.layout().exists() }

// sample returns the images that layoutproxy list shows for the sample.
func sample(t *testing.T) []image {
	t.Helper()
	dir, err := filepath.Abs(bundleDir)
	must(t, err)
	var images []image
	for line := range strings.Lines(run(t, program, "list", dir)) {
		fields := strings.Split(strings.TrimRight(line, "\n"), "\t")
		if len(fields) != 4 {
			t.Fatalf("layoutproxy list printed the line %q, want 4 fields separated by tabs", line)
		}
		if fields[1] == "-" {
			continue // this line shows a manifest without a tag
		}
		size, err := strconv.ParseInt(fields[3], 10, 64)
		if err != nil {
			t.Fatalf("layoutproxy list printed %q: %v", line, err)
		}
		images = append(images, image{fields[0], fields[1], digest.Digest(fields[2]), size})
	}
	return images
}

// pick returns the image with a name. It fails the test if there is none.
func pick(t *testing.T, images []image, name string) image {
	t.Helper()
	i := slices.IndexFunc(images, func(i image) bool { return i.name() == name })
	if i < 0 {
		t.Fatalf("the sample has no image %s", name)
	}
	return images[i]
}

// discoveryTags returns the images of the discovery tags of the sample.
func discoveryTags(t *testing.T) []image {
	t.Helper()
	return slices.DeleteFunc(sample(t), func(i image) bool { return !i.discovery() })
}

// repositories returns the names of the repositories of images, sorted and without duplicates.
func repositories(images []image) []string {
	names := map[string]bool{}
	for _, i := range images {
		names[i.repository] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// tags returns the tags of the images in a repository, sorted.
func tags(images []image, repository string) []string {
	var tags []string
	for _, i := range images {
		if i.repository == repository {
			tags = append(tags, i.tag)
		}
	}
	slices.Sort(tags)
	return tags
}
