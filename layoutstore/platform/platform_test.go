package platform_test

import (
	"strings"
	"testing"

	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/platform"
)

// parse parses OS/ARCH or OS/ARCH/VARIANT. Each part may be empty.
func parse(s string) *specs.Platform {
	part := append(strings.Split(s, "/"), "", "")
	return &specs.Platform{OS: part[0], Architecture: part[1], Variant: part[2]}
}

// The spellings are from normalizeOS and normalizeArch in database.go of github.com/containerd/platforms.
// Each class lists all equal platforms, so the test fails if that package changes.
func TestSamePlatform(t *testing.T) {
	classes := [][]string{
		{"linux/amd64", "linux/x86_64", "linux/x86-64", "Linux/AMD64", "linux/amd64/v1"},
		{"linux/amd64/v2"},
		{"linux/arm64", "linux/aarch64", "linux/arm64/v8", "linux/arm64/8", "linux/aarch64/v8"},
		{"linux/arm", "linux/arm/v7", "linux/arm/7", "linux/armhf", "linux/armhf/v6"},
		{"linux/arm/v6", "linux/arm/6", "linux/armel", "linux/armel/v7"},
		{"linux/arm/v5", "linux/arm/5"},
		{"linux/arm/v8", "linux/arm/8"},
		{"linux/386", "linux/i386", "linux/i386/v1"},
		{"darwin/arm64", "macos/arm64", "macos/aarch64/v8"},
		{"darwin/amd64", "macos/x86_64"},
		{"windows/amd64"},
		{"linux/s390x"},
		{"linux/ppc64le"},
		{"linux/riscv64"},
		{"unknown/unknown"},
	}
	for i, left := range classes {
		for j, right := range classes {
			for _, a := range left {
				for _, b := range right {
					if platform.Same(parse(a), parse(b)) != (i == j) {
						t.Errorf("Same(%s, %s) = %v, want %v", a, b, i != j, i == j)
					}
				}
			}
		}
	}
	for _, nothing := range []*specs.Platform{nil, {}, {OS: "linux"}, {Architecture: "amd64"}} {
		if platform.Same(nothing, nothing) || platform.Same(nothing, parse("linux/amd64")) || platform.RunsOn(nothing, parse("linux/amd64")) || platform.RunsOn(parse("linux/amd64"), nothing) {
			t.Errorf("incomplete platform %v: Same or RunsOn returned true, want false from both", nothing)
		}
	}
}

func TestImageRunsOnPlatform(t *testing.T) {
	for _, test := range []struct {
		image, host string
		want        bool
	}{
		{"linux/arm64/v8", "linux/arm64", true},
		{"linux/aarch64", "linux/arm64/v8", true},
		{"linux/arm/v6", "linux/arm", true},
		{"linux/arm/v7", "linux/arm/v6", false},
		{"linux/x86_64", "linux/amd64", true},
		{"linux/amd64/v3", "linux/amd64", false},
		{"linux/amd64", "linux/arm64", false},
		{"windows/amd64", "linux/amd64", false},
	} {
		if got := platform.RunsOn(parse(test.image), parse(test.host)); got != test.want {
			t.Errorf("RunsOn(%s, %s) = %v, want %v", test.image, test.host, got, test.want)
		}
	}
}
