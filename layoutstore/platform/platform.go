// Package platform compares the platforms of images as containerd does. It first converts them to a
// normal form: arm64/v8 becomes arm64, and arm becomes arm/v7. It also replaces other spellings,
// such as aarch64, x86_64, armhf, i386 and macos.
//
// The package uses github.com/containerd/platforms, as containerd does on a node. So layoutproxy
// and containerd choose the same image from an index.
package platform

import (
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Same reports whether two platforms are equal in containerd's normal form. A platform without an
// operating system or an architecture, as in some bundles, does not equal any platform.
func Same(a, b *specs.Platform) bool {
	if !isNamed(a) || !isNamed(b) {
		return false
	}
	x, y := platforms.Normalize(*a), platforms.Normalize(*b)
	return x.OS == y.OS && x.Architecture == y.Architecture && x.Variant == y.Variant
}

// RunsOn reports whether containerd runs an image on a host. image and host are their platforms,
// which may differ: for example, a host of arm/v7 also runs images for arm/v6.
func RunsOn(image, host *specs.Platform) bool {
	if !isNamed(image) || !isNamed(host) {
		return false
	}
	if version, err := strconv.Atoi(strings.TrimPrefix(platforms.Normalize(*host).Variant, "v")); err == nil && version > maxVersion {
		return Same(image, host)
	}
	return platforms.Only(*host).Match(*image)
}

// maxVersion is more than the number in any variant, such as 7 in v7. containerd's package lists all
// lower versions of a host's variant, so a variant such as v9000000000 would take all memory.
const maxVersion = 99

func isNamed(p *specs.Platform) bool { return p != nil && p.OS != "" && p.Architecture != "" }
