package release

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// ParseDigests finds digests at any depth of a JSON document, and names them by the fields that lead to them.
// The first case has the form of an installer's file in deckhouse/deckhouse. The file of a module is less
// nested.
func TestParseDigests(t *testing.T) {
	one, two := "sha256:"+strings.Repeat("0a", 32), "sha256:"+strings.Repeat("0b", 32)
	images, err := ParseDigests([]byte(`{"common":{"pause":"` + two + `","init":"` + one + `"},"agent":"` + one + `","deep":{"a":[{"b":"` + two + `"}]},"n":[1,null,"sha256:00"]}`))
	layouttest.Try(t, err)
	if diff := cmp.Diff([]Image{{"agent", one}, {"common/init", one}, {"common/pause", two}, {"deep/a/b", two}}, images); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{one, two}, References(images)); diff != "" {
		t.Error(diff)
	}
	tags, err := ParseTags([]byte(`{"m":{"b":"A_b.1-x","a":"old"}}`))
	layouttest.Try(t, err)
	if diff := cmp.Diff([]Image{{"m/a", "old"}, {"m/b", "A_b.1-x"}}, tags); diff != "" {
		t.Error(diff)
	}
}

func TestParseExtraImages(t *testing.T) {
	images, err := ParseExtraImages([]byte(`{"scanner": 3, "a/enforcer": "v2", "big": 12345678901234567890}`))
	layouttest.Try(t, err)
	if diff := cmp.Diff([]Image{{"a/enforcer", "v2"}, {"big", "12345678901234567890"}, {"scanner", "3"}}, images); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{`[`, `{"../../../evil": "v1"}`, `{"scanner": ["v1"]}`, `{"scanner": ""}`, `{"a//b": "v1"}`, `{"": "v1"}`, `{"/a": "v1"}`, `{"A": "v1"}`} {
		if images, err := ParseExtraImages([]byte(bad)); err == nil {
			t.Errorf("%s: %q", bad, images)
		}
	}
}

// ParseDigests returns sorted digests. ParseTags returns at least the same images.
func FuzzImages(f *testing.F) {
	hex := strings.Repeat("0a", 32)
	f.Add([]byte(`{"a":{"b":"sha256:` + hex + `"},"c":["sha256:` + hex + `", 1, null, "sha256:00"]}`))
	f.Add([]byte(`"sha256:`))
	f.Fuzz(func(t *testing.T, data []byte) {
		found, err := ParseDigests(data)
		all, tagsErr := ParseTags(data)
		if err != nil && len(found) > 0 || (err == nil) != (tagsErr == nil) || len(found) > len(all) {
			t.Fatalf("ParseDigests = %v, error %v; ParseTags = %v, error %v; want errors from both or neither, no digests with an error, and at most as many digests as tags", found, err, all, tagsErr)
		}
		for i, image := range found {
			if digest.Digest(image.Reference).Validate() != nil || i > 0 && found[i-1].Name > image.Name || len(image.Name) > maxName {
				t.Fatalf("%q", found)
			}
		}
	})
}

// ParseExtraImages accepts only names of images that cannot lead out of a directory.
func FuzzExtraImages(f *testing.F) {
	f.Add([]byte(`{"scanner": 3, "enforcer": "v2"}`))
	f.Add([]byte(`{"../x": "v1"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		images, err := ParseExtraImages(data)
		if err != nil && images != nil {
			t.Fatalf("ParseExtraImages = %q, error %v; want no images with an error", images, err)
		}
		for _, i := range images {
			if strings.Contains("/"+i.Name+"/", "/../") || strings.HasPrefix(i.Name, "/") || i.Name == "" || i.Reference == "" {
				t.Fatalf("%q", i)
			}
		}
	})
}
