// Package platform compares the platforms of images as containerd does: in its
// normal form, where arm64 is arm64/v8, arm is arm/v7, and aarch64, x86_64, armhf,
// i386 and macos are other spellings.
//
// The normal form is that of github.com/containerd/platforms, which a node's containerd uses, too,
// so that both choose the same image of an index.
package platform

import (
	"github.com/containerd/platforms"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Same reports whether two platforms are equal in containerd's normal form. A platform without an
// operating system or an architecture, as in some bundles, equals none.
func Same(a, b *specs.Platform) bool {
	if !isNamed(a) || !isNamed(b) {
		return false
	}
	x, y := platforms.Normalize(*a), platforms.Normalize(*b)
	return x.OS == y.OS && x.Architecture == y.Architecture && x.Variant == y.Variant
}

// RunsOn reports whether containerd on the platform host accepts an image of the platform image:
// the same platform, or one that the host's processor also runs, such as arm/v6 on arm/v7.
func RunsOn(image, host *specs.Platform) bool {
	return isNamed(image) && isNamed(host) && platforms.Only(*host).Match(*image)
}

func isNamed(p *specs.Platform) bool { return p != nil && p.OS != "" && p.Architecture != "" }
