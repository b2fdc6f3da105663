package bundle

import (
	"encoding/json"
	"path"
	"slices"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// layoutMark is the content of oci-layout, as d8 mirror writes it.
const layoutMark = "{\n    \"imageLayoutVersion\": \"1.0.0\"\n}"

// annotationShortTag is the annotation that contains only the tag of an image, not its full reference.
const annotationShortTag = "io.deckhouse.image.short_tag"

// indexMediaType is the mediaType of a bundle's index.json.
const indexMediaType = "application/vnd.oci.image.layout.v1+json"

// indexDoc is an index.json. Its fields have the same order as in files of d8 mirror, so that
// layoutproxy writes the same bytes as d8 mirror.
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

// platformDoc is the platform of an image. d8 mirror always writes it with empty fields.
type platformDoc struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// SortedImages returns the images in the order of the index.json. If several images have the same
// tag, the last of them is served for the tag.
func (l *Layout) SortedImages() []Image {
	sorted := slices.Clone(l.Images)
	slices.SortStableFunc(sorted, compareReferences)
	return sorted
}

// Files returns the names, sizes and checksums of the layout's index.json and oci-layout, for an inventory.
func (l *Layout) Files() ([]File, error) {
	index, err := l.IndexJSON()
	if err != nil {
		return nil, err
	}
	return []File{listData(path.Join(l.Path, specs.ImageIndexFile), index), listData(path.Join(l.Path, specs.ImageLayoutFile), []byte(layoutMark))}, nil
}

// LayoutFiles returns the paths of index.json and oci-layout for the layout at a given path.
func LayoutFiles(at string) []string {
	return []string{path.Join(at, specs.ImageIndexFile), path.Join(at, specs.ImageLayoutFile)}
}

// IndexJSON returns the content of the layout's index.json. Its images are sorted by reference.
func (l *Layout) IndexJSON() ([]byte, error) {
	doc := indexDoc{SchemaVersion: 2, MediaType: indexMediaType, Manifests: []descriptorDoc{}}
	for _, i := range l.SortedImages() {
		annotations := map[string]string{specs.AnnotationRefName: i.Reference}
		if i.Tag != "" {
			annotations[annotationShortTag] = i.Tag
		}
		doc.Manifests = append(doc.Manifests, descriptorDoc{MediaType: i.MediaType, Size: i.Size, Digest: i.Digest, Annotations: annotations})
	}
	return json.MarshalIndent(doc, "", "  ")
}
