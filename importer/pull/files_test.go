package pull

import (
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// A pull follows nested indexes, but only down to a maximum depth.
func TestNestedIndexes(t *testing.T) {
	s := newSource(nil, nil, nil, nil)
	put := func(body string) closure.Descriptor {
		d := digest.FromString(body)
		layouttest.Try(t, s.storeManifest(d, []byte(body)))
		return closure.Descriptor{MediaType: specs.MediaTypeImageIndex, Digest: d, Size: int64(len(body))}
	}
	c := put(`{"schemaVersion":2,"mediaType":"` + specs.MediaTypeImageManifest + `","config":{},"layers":[]}`)
	for i := range 2 * 8 {
		_, err := s.layersOf(t.Context(), "app", c)
		if tooDeep := err != nil && strings.Contains(err.Error(), "index of indexes"); tooDeep != (i >= 8) || !tooDeep && err != nil {
			t.Errorf("%d nested indexes: got error %v, want one only if there are at least 8", i, err)
		}
		c = put(fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`, specs.MediaTypeImageIndex, c.MediaType, c.Digest, c.Size))
	}
}
