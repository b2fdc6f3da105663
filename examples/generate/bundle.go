package main

import (
	"encoding/base64"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// writeBundle writes the complete sample bundle below dir.
func writeBundle(tb layouttest.TB, dir string) {
	tree := layouttest.New(tb, dir)
	platform := versions{older: "v1.69.3", newer: "v1.70.1"}
	internal := writePlatform(tree.Layout("."), platform)
	writeInstallers(tree.Layout("install"), platform, internal)
	writeChannels(tree.Layout("release-channel"), platform)

	writeComponent(tree, component{
		path: "modules/console", releases: "release", versions: versions{"v1.0.1", "v1.1.0"},
		extra: "console-ui", extraTag: "v2",
	})
	writeComponent(tree, component{
		path: "modules/csi-ceph", releases: "release", versions: versions{"v0.5.1", "v0.5.2"},
		extra: "csi-snapshotter", extraTag: "3",
	})
	writeComponent(tree, component{
		path: "packages/echo", releases: "version", versions: versions{"v0.1.0", "v0.2.0"},
	})
	writePlugin(tree.Layout("deckhouse-cli/plugins/stronghold"), "v1.0.0")
}

// writePlatform writes the layout of the platform, at the top of the bundle. It returns the
// internal image, which the installers name by digest.
func writePlatform(root *layouttest.Layout, v versions) (internal ocispec.Descriptor) {
	older, newer := writeVersions(root, v, func(version string) layouttest.Image {
		return sample("deckhouse", version)
	})
	tagChannels(root, older, newer)
	internal = writeInternal(root, "init")
	root.Tag(root.Image(attestation(internal)), "sha256-"+internal.Digest.Encoded()+".att")
	root.Write()
	return internal
}

// writeInstallers writes the layout of the installers, with an SBOM of the newer installer. The
// SBOM has no tag, so clients find it only by its subject.
func writeInstallers(l *layouttest.Layout, v versions, internal ocispec.Descriptor) {
	_, newer := writeVersions(l, v, func(version string) layouttest.Image {
		image := sample("install", version)
		image.Files = map[string]string{
			"deckhouse/candi/images_digests.json": fmt.Sprintf(`{"common":{"init":%q}}`, internal.Digest),
		}
		return image
	})
	l.Add(l.Image(layouttest.Image{
		ArtifactType:   "application/vnd.example.sbom.v1",
		Layers:         [][]byte{[]byte(`{"packages":["deckhouse"]}`)},
		LayerMediaType: "application/json",
		Subject:        &newer,
	}))
	l.Write()
}

// writePlugin writes an image index for two platforms. index.json lists only this index. Clients
// request the images of the platforms by digest.
func writePlugin(l *layouttest.Layout, version string) {
	var index layouttest.Index
	for _, arch := range []string{"amd64", "arm64"} {
		image := sample(l.Path()+" "+arch, version)
		image.Platform = &ocispec.Platform{OS: "linux", Architecture: arch}
		index.Children = append(index.Children, l.Image(image))
	}
	l.Tag(l.Index(index), version)
	l.Write()
}

// attestation returns an attestation as cosign attaches it to an image: a DSSE envelope, but
// without a signature.
func attestation(of ocispec.Descriptor) layouttest.Image {
	statement := fmt.Sprintf(`{"_type":"https://in-toto.io/Statement/v0.1",`+
		`"predicateType":"https://openvex.dev/ns/v0.2.0",`+
		`"subject":[{"name":"init","digest":{"sha256":%q}}],"predicate":{"statements":[]}}`, of.Digest.Encoded())
	envelope := fmt.Sprintf(`{"payloadType":"application/vnd.in-toto+json","payload":%q,"signatures":[]}`,
		base64.StdEncoding.EncodeToString([]byte(statement)))
	return layouttest.Image{
		Name:           "attestation",
		Layers:         [][]byte{[]byte(envelope)},
		LayerMediaType: "application/vnd.dsse.envelope.v1+json",
	}
}
