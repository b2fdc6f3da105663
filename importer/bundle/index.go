package bundle

import (
	"encoding/json"
	"slices"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// layoutMark is the content of oci-layout, as d8 mirror writes it.
const layoutMark = "{\n    \"imageLayoutVersion\": \"1.0.0\"\n}"

// annotationShortTag is the annotation that holds only the tag.
const annotationShortTag = "io.deckhouse.image.short_tag"

// indexMediaType is the mediaType of a bundle's index.json.
const indexMediaType = "application/vnd.oci.image.layout.v1+json"

// indexDoc is an index.json with its fields in the order of d8 mirror, so that equal content
// gives equal bytes.
type indexDoc struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	Manifests     []descriptorDoc `json:"manifests"`
}

type descriptorDoc struct {
	MediaType   string            `json:"mediaType"`
	Size        int64             `json:"size"`
	Digest      digest.Digest     `json:"digest"`
	Annotations map[string]string `json:"annotations"`
	Platform    platformDoc       `json:"platform"`
}

// platformDoc is always empty. It exists because d8 mirror writes it.
type platformDoc struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// IndexJSON returns the index.json of a layout, with images sorted by reference.
func (l *Layout) IndexJSON() ([]byte, error) {
	doc := indexDoc{SchemaVersion: 2, MediaType: indexMediaType, Manifests: []descriptorDoc{}}
	sorted := slices.Clone(l.Images)
	slices.SortStableFunc(sorted, compareReferences)
	for _, i := range sorted {
		annotations := map[string]string{specs.AnnotationRefName: i.Reference}
		if i.Tag != "" {
			annotations[annotationShortTag] = i.Tag
		}
		doc.Manifests = append(doc.Manifests, descriptorDoc{MediaType: i.MediaType, Size: i.Size, Digest: i.Digest, Annotations: annotations})
	}
	return json.MarshalIndent(doc, "", "  ")
}
