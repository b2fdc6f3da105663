package publish

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// Annotations of descriptors in an index.json.
const (
	// ShortTag is the annotation that contains the tag of an image in a Deckhouse bundle.
	ShortTag = "io.deckhouse.image.short_tag"
	// ReplacedTag is the annotation for the tag that a manifest had until an import gave the tag to
	// a different manifest. It tells a prune that the manifest is superseded.
	ReplacedTag = "io.layoutproxy.replaced-tag"
)

// IndexFields returns the fields of an index.json, and its descriptors. It returns an error if a
// field name differs from "manifests" only in case. Package encoding/json would read descriptors
// from this field, too, and a rewritten index would lose them.
func IndexFields(data []byte) (fields map[string]json.RawMessage, manifests []json.RawMessage, err error) {
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, nil, err
	}
	for name := range fields {
		if name != manifestsField && strings.EqualFold(name, manifestsField) {
			return nil, nil, fmt.Errorf("the index has a field %.40q, which some readers read as %q", name, manifestsField)
		}
	}
	if list, ok := fields[manifestsField]; ok {
		err = json.Unmarshal(list, &manifests)
	}
	return fields, manifests, err
}

const manifestsField = "manifests"

// WithoutTag removes the annotations with a tag from a descriptor. If replaced is not empty,
// WithoutTag stores it in the annotation [ReplacedTag]. A full reference becomes a reference by
// digest, which still names the registry and path from which the bundle was pulled.
func WithoutTag(raw json.RawMessage, d digest.Digest, replaced string) json.RawMessage {
	return EditAnnotations(raw, func(annotations map[string]json.RawMessage) {
		var reference string
		_ = json.Unmarshal(annotations[ocispec.AnnotationRefName], &reference) // an annotation that is not a string leaves the reference empty
		delete(annotations, ShortTag)
		delete(annotations, ocispec.AnnotationRefName)
		if ref := names.ParseReference(reference); strings.Contains(ref.Host+ref.Path, "/") || ref.Host != "" {
			annotations[ocispec.AnnotationRefName], _ = Marshal(path.Join(ref.Host, ref.Path) + "@" + d.String())
		}
		if replaced != "" {
			annotations[ReplacedTag], _ = Marshal(replaced)
		}
	})
}

// EditAnnotations calls edit with the annotations of a descriptor, and returns the edited descriptor. If
// there are no annotations, it returns raw.
func EditAnnotations(raw json.RawMessage, edit func(map[string]json.RawMessage)) json.RawMessage {
	var doc, annotations map[string]json.RawMessage
	if json.Unmarshal(raw, &doc) != nil || json.Unmarshal(doc["annotations"], &annotations) != nil || annotations == nil {
		return raw
	}
	edit(annotations)
	delete(doc, "annotations")
	if len(annotations) > 0 {
		doc["annotations"], _ = Marshal(annotations) // cannot fail, because the annotations were parsed from JSON
	}
	out, err := Marshal(doc)
	if err != nil {
		return raw
	}
	return out
}

// Marshal encodes JSON without HTML escapes. So characters such as & and < stay as they are.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
