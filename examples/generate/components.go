package main

import (
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// component is a module or a package. It has several layouts.
type component struct {
	path            string
	releases        string // where the release channels are, relative to path
	versions        versions
	extra, extraTag string // name and tag of an extra image below path/extra; empty if there is none
}

// versions are the two versions of a component. The channels stable and rock-solid point at the
// older version, and alpha points at the newer version.
type versions struct{ older, newer string }

// writeComponent writes all layouts of a component.
func writeComponent(tree *layouttest.Tree, c component) {
	l := tree.Layout(c.path)
	internal := writeInternal(l, "controller")
	writeVersions(l, c.versions, func(version string) layouttest.Image {
		image := sample(c.path, version)
		image.Files = map[string]string{
			"images_digests.json": fmt.Sprintf(`{"controller":%q}`, internal.Digest),
		}
		if c.extra != "" {
			image.Files["extra_images.json"] = fmt.Sprintf(`{%q:%q}`, c.extra, c.extraTag)
		}
		return image
	})
	l.Write()
	writeChannels(tree.Layout(c.path+"/"+c.releases), c.versions)
	if c.extra != "" {
		extra := tree.Layout(c.path + "/extra/" + c.extra)
		extra.Tag(extra.Image(sample(extra.Path(), c.extraTag)), c.extraTag)
		extra.Write()
	}
}

// writeChannels writes the layout of the release channels. Each image in the layout contains only a
// version. It is tagged with this version, and with the channels that point at the version.
func writeChannels(l *layouttest.Layout, v versions) {
	older, newer := writeVersions(l, v, func(version string) layouttest.Image {
		image := sample(l.Path(), version)
		image.Files = map[string]string{"version.json": fmt.Sprintf(`{"version":%q}`, version)}
		return image
	})
	tagChannels(l, older, newer)
	l.Write()
}

func tagChannels(l *layouttest.Layout, older, newer ocispec.Descriptor) {
	l.Tag(newer, "alpha")
	l.Tag(older, "stable")
	l.Tag(older, "rock-solid")
}

// writeVersions writes and tags an image of each version. The older version is a Docker image and
// the newer version an OCI image, as in a registry that is some years old.
func writeVersions(l *layouttest.Layout, v versions, image func(version string) layouttest.Image) (older, newer ocispec.Descriptor) {
	docker := image(v.older)
	docker.Docker = true
	older, newer = l.Image(docker), l.Image(image(v.newer))
	l.Tag(older, v.older)
	l.Tag(newer, v.newer)
	return older, newer
}

// writeInternal writes an image that other images refer to by digest. Like d8, it tags the image
// with the hex digits of the image's digest.
func writeInternal(l *layouttest.Layout, name string) ocispec.Descriptor {
	image := sample(name, "internal")
	image.Docker = true
	d := l.Image(image)
	l.Tag(d, d.Digest.Encoded())
	return d
}

// sample returns an image that clients can pull and unpack, and that does nothing.
func sample(name, version string) layouttest.Image {
	title := name + " " + version
	return layouttest.Image{
		Name:  title,
		Files: map[string]string{"README": "A sample of " + title + ".\n"},
	}
}
