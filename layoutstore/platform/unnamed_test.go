package platform_test

import (
	"testing"

	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/platform"
)

// A platform without an operating system or an architecture does not equal any platform.
func TestIncompletePlatformsEqualNone(t *testing.T) {
	amd64 := &specs.Platform{OS: "linux", Architecture: "amd64"}
	for _, nothing := range []*specs.Platform{nil, {}, {OS: "linux"}, {Architecture: "amd64"}} {
		if platform.Same(amd64, nothing) || platform.Same(nothing, amd64) {
			t.Errorf("Same of linux/amd64 and the incomplete platform %v = true, want false", nothing)
		}
	}
}
