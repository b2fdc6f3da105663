package platform_test

import (
	"testing"

	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/platform"
)

// Same must give the same result if its arguments are swapped. A complete platform equals itself.
func FuzzSame(f *testing.F) {
	f.Add("linux", "arm64", "", "linux", "aarch64", "v8")
	f.Add("linux", "arm", "7", "LINUX", "armhf", "")
	f.Add("", "/", "//", "windows", "amd64", "\x00")
	f.Add("linux", "amd64", "", "linux", "AMD64", "V9333333339")
	f.Fuzz(func(t *testing.T, os1, arch1, variant1, os2, arch2, variant2 string) {
		a := &specs.Platform{OS: os1, Architecture: arch1, Variant: variant1}
		b := &specs.Platform{OS: os2, Architecture: arch2, Variant: variant2}
		if platform.Same(a, b) != platform.Same(b, a) {
			t.Errorf("Same(%+v, %+v) changes if the arguments are swapped, want the same result", a, b)
		}
		if os1 != "" && arch1 != "" && !platform.Same(a, a) {
			t.Errorf("Same of %+v and itself = false, want true", a)
		}
		platform.RunsOn(a, b)
	})
}
