// Package discovery makes discovery images. A discovery tag shows that a module, package or plugin
// exists, and refers to such an image.
//
// A Deckhouse cluster lists the tags of <root>/modules and similar repositories. So each directory below such
// a repository is also a tag in it ([Names]), and each tag needs an image ([New]). The d8 program pushes
// random bytes as the image. [New] always returns the same bytes for a name, on every machine and in every
// version. So the server, list and push use the same image, and a second push sends nothing.
//
// An image is a linux/amd64 OCI image (image-spec 1.1) with one empty layer. It is dated 1970 and
// labelled with its name.
package discovery

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Indexes returns the paths of the repositories whose tags a cluster lists, relative to the root.
func Indexes() []string { return []string{"modules", "packages", "deckhouse-cli/plugins"} }

// The layer is an empty tar archive, compressed. It is a literal because compressors change their
// output from version to version.
const (
	layer  = "\x1f\x8b\b\x00\x00\x00\x00\x00\x00\xffb\x18\x05\xa3`\x14\x8cX\x00\b\x00\x00\xff\xff.\xaf\xb5\xef\x00\x04\x00\x00"
	diffID = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
)

// Image contains everything that a discovery image consists of.
type Image struct {
	MediaType               string // the media type of the manifest
	Manifest, Config, Layer []byte
}

// New makes the image for a name. The name is one component of a repository name.
func New(name string) Image {
	config := fmt.Sprintf(`{"created":"1970-01-01T00:00:00Z","architecture":"amd64","os":"linux",`+
		`"config":{"Labels":{"org.opencontainers.image.title":%q}},`+
		`"rootfs":{"type":"layers","diff_ids":[%q]},`+
		`"history":[{"created":"1970-01-01T00:00:00Z","created_by":"layoutproxy","comment":"discovery tag"}]}`,
		name, diffID)
	manifest := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,`+
		`"config":{"mediaType":%q,"digest":%q,"size":%d},`+
		`"layers":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		specs.MediaTypeImageManifest,
		specs.MediaTypeImageConfig, digest.FromString(config), len(config),
		specs.MediaTypeImageLayerGzip, digest.FromString(layer), len(layer))
	return Image{specs.MediaTypeImageManifest, []byte(manifest), []byte(config), []byte(layer)}
}

// Names returns the discovery tags of the repository at the path index, in byte order. paths are the paths of
// all repositories. A directory directly below index becomes a tag if it is a repository or contains one.
func Names(index string, paths []string) []string {
	var names []string
	for _, p := range paths {
		below, ok := strings.CutPrefix(p, index+"/")
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(below, "/")
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
