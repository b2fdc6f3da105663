package layouttest

import (
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Contradictions adds images that every reader must refuse. Their manifests contradict the
// descriptors, or could be parsed as two different types. All their blobs exist. Contradictions
// returns the descriptors by tag.
func (l *Layout) Contradictions() map[string]ocispec.Descriptor {
	l.tree.tb.Helper()
	raw := func(d ocispec.Descriptor) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, d.MediaType, d.Digest, d.Size)
	}
	config := raw(l.Blob(ocispec.MediaTypeImageConfig, []byte("{}")))
	layer := raw(l.Blob(ocispec.MediaTypeImageLayer, []byte("a layer")))
	child := l.Blob(ocispec.MediaTypeImageManifest, []byte(`{"mediaType":"`+ocispec.MediaTypeImageManifest+`","config":`+config+`,"layers":[]}`))
	wrongChild := l.Blob(MediaTypeDockerManifest, []byte(`{"mediaType":"`+ocispec.MediaTypeImageManifest+`","config":`+config+`,"layers":[`+layer+`]}`))
	image := `"config":` + config + `,"layers":[` + layer + `]`
	index := `"manifests":[` + raw(child) + `]`
	typed := func(mediaType string) string { return `,"mediaType":"` + mediaType + `"` }
	all := map[string]ocispec.Descriptor{}
	for tag, c := range map[string]struct{ body, descriptor string }{
		"docker-for-oci":       {image + typed(ocispec.MediaTypeImageManifest), MediaTypeDockerManifest},
		"index-for-image":      {image + typed(ocispec.MediaTypeImageManifest), ocispec.MediaTypeImageIndex},
		"image-for-index":      {index + typed(ocispec.MediaTypeImageIndex), ocispec.MediaTypeImageManifest},
		"text-for-image":       {image + typed(ocispec.MediaTypeImageManifest), "text/plain"},
		"untyped-image":        {image, ocispec.MediaTypeImageIndex},
		"untyped-index":        {index, MediaTypeDockerManifest},
		"layers-and-manifests": {image + "," + index + typed(ocispec.MediaTypeImageManifest), ocispec.MediaTypeImageManifest},
		"config-and-manifests": {`"config":` + config + "," + index + typed(ocispec.MediaTypeImageIndex), ocispec.MediaTypeImageIndex},
		"type-of-other-fields": {image + typed(ocispec.MediaTypeImageIndex), ocispec.MediaTypeImageIndex},
		"layers-twice":         {image + `,"layers":[]`, ocispec.MediaTypeImageManifest},
		"layers-in-capitals":   {image + `,"Layers":[]`, ocispec.MediaTypeImageManifest},
		"child":                {`"manifests":[` + raw(wrongChild) + `]`, ocispec.MediaTypeImageIndex},
	} {
		d := l.Blob(c.descriptor, []byte(`{"schemaVersion":2,"annotations":{"tag":"`+tag+`"},`+c.body+`}`))
		all[tag] = d
		l.Tag(d, tag)
	}
	return all
}
