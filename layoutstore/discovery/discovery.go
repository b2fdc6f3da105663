// Package discovery makes the images of discovery tags, from which a cluster learns which modules,
// packages and plugins exist.
//
// A Deckhouse cluster reads the tag list of <root>/modules and similar repositories. So each
// directory below such a repository is a tag of it ([Names]), and each tag needs an image ([New]).
// d8 pushes random bytes. [New] returns the same bytes for a name on every machine and in every
// version, so that a server, a list and a push agree, and a second push sends nothing.
//
// An image is a linux/amd64 OCI image (image-spec 1.1) of one empty layer, created in
// 1970 and labelled with its name.
package discovery

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Indexes returns the paths below the root whose tag lists a cluster reads.
func Indexes() []string { return []string{"modules", "packages", "deckhouse-cli/plugins"} }

// The layer is an empty tar archive. It is a literal because the output of compressors changes from
// version to version.
const (
	layer  = "\x1f\x8b\b\x00\x00\x00\x00\x00\x00\xffb\x18\x05\xa3`\x14\x8cX\x00\b\x00\x00\xff\xff.\xaf\xb5\xef\x00\x04\x00\x00"
	diffID = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
)

// Image is one complete discovery image.
type Image struct {
	MediaType               string // of the manifest
	Manifest, Config, Layer []byte
}

// New makes the image for a name, which is a component of a repository name.
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

// Names returns the tags of the repository index, given the paths of all repositories: the names of
// the directories directly below it that are a repository or contain one, in byte order.
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
