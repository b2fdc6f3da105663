package layoutstore

import (
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
)

// newTrust must not allocate per tag: this would take more memory than the tags themselves.
func TestTrustAllocatesNothingPerTag(t *testing.T) {
	const count = 10_000
	r := inventory.Repository{Path: "app"}
	for n := range count {
		r.Tags = append(r.Tags, inventory.Tag{Name: fmt.Sprint("v", n), Digest: digest.FromString(fmt.Sprint(n))})
	}
	list := &inventory.Inventory{Repositories: []inventory.Repository{r}}
	if n := testing.AllocsPerRun(1, func() { newTrust(&inventory.VerifyKey{}, list) }); n > count/10 {
		t.Errorf("newTrust made %.0f allocations for %d tags, want at most 1 per 10 tags", n, count)
	}
}
