package layouttest

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/edition"
)

// AnnotationShortTag is the annotation in which d8 stores only the tag of an image, without the repository.
const AnnotationShortTag = "io.deckhouse.image.short_tag"

// Layout is one OCI image layout in a tree.
type Layout struct {
	tree      *Tree
	path      string
	dir       string
	manifests []ocispec.Descriptor
}

// Dir returns the directory of the layout.
func (l *Layout) Dir() string { return l.dir }

// Path returns the path of the layout below the tree, with slashes. "." is the root layout.
func (l *Layout) Path() string { return l.path }

// Tag adds the descriptor d with a tag to the index, as d8 mirror pull does. The entry gets the
// short tag, the complete reference, and an empty platform. If the tag is the hex digest of d, the
// reference contains "@" instead of ":", as for an image that d8 pulls by digest. A tag may be
// added several times; index.json keeps the order.
func (l *Layout) Tag(d ocispec.Descriptor, tag string) {
	d.Annotations = maps.Clone(d.Annotations)
	if d.Annotations == nil {
		d.Annotations = map[string]string{}
	}
	d.Annotations[AnnotationShortTag] = tag
	d.Annotations[ocispec.AnnotationRefName] = l.reference(d, tag)
	d.Platform = &ocispec.Platform{}
	l.Add(d)
}

func (l *Layout) reference(d ocispec.Descriptor, tag string) string {
	name := edition.Of(l.tree.Source).Name(l.path)
	if l.tree.OldNames {
		name = edition.Unsplit(l.tree.Source).Name(l.path)
	}
	if tag == d.Digest.Encoded() {
		return name + "@" + d.Digest.String()
	}
	return name + ":" + tag
}

// Add adds the descriptor d to the index without changing it. A caller that wants a tag sets the annotations.
func (l *Layout) Add(d ocispec.Descriptor) {
	l.manifests = append(l.manifests, d)
}

// Write writes an index.json with all descriptors added so far. After adding more descriptors, call it again.
func (l *Layout) Write() {
	l.tree.tb.Helper()
	l.writeJSON(ocispec.ImageIndexFile, ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		// The list must not be nil, which would be written as null.
		Manifests: append([]ocispec.Descriptor{}, l.manifests...),
	})
}

func (l *Layout) writeJSON(name string, v any) {
	l.tree.tb.Helper()
	data, err := json.MarshalIndent(v, "", "  ")
	Try(l.tree.tb, err)
	Try(l.tree.tb, replace(filepath.Join(l.dir, name), func(f *os.File) error {
		_, err := f.Write(data)
		return err
	}))
}
