// Package closure parses manifests and follows everything that they refer to.
//
// Start with [Parse] for one manifest, and with [Walk] for everything that the descriptors
// of an index lead to: a [Graph] of blobs and of manifests, each manifest after those that it
// names. The graph contains unavailable manifests with the reason, so that verify, push, import
// and pull report the same problems.
//
// The formats are those of the OCI image specification 1.1 (manifest.md, image-index.md,
// descriptor.md), of its withdrawn artifact manifest, and of Docker's image manifest version 2,
// schema 2. The package reads no file: the caller provides the content.
package closure

import (
	"cmp"
	"encoding/json"
	"fmt"
	"unique"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Descriptor is a descriptor of some content, without annotations.
type Descriptor struct {
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"` // bytes
}

// Refs are the descriptors in one manifest, in its order.
type Refs struct {
	// MediaType is the one that the manifest states, or else the one that its fields imply.
	MediaType string
	Typed     bool // the manifest states its media type
	// ArtifactType is the one that the manifest states, or else the media type of its config.
	ArtifactType string
	Annotations  map[string]string
	Children     []Descriptor // manifests
	Blobs        []Ref        // the config first
	Subject      *Descriptor  // nil if it has no subject
	// Faults describe the malformed digests in the manifest, whose content cannot be found.
	Faults []string
}

// Ref is a blob that a manifest names.
type Ref struct {
	Descriptor
	// Optional is set if the blob may be missing because it is a layer of a non-distributable media
	// type. Nothing else makes a blob optional, not even urls.
	Optional bool
}

// document has the fields of all kinds of manifest that refer to content.
type document struct {
	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType"`
	Annotations  map[string]string `json:"annotations"`
	Config       *Descriptor       `json:"config"`
	Layers       []Descriptor      `json:"layers"`
	Blobs        []Descriptor      `json:"blobs"` // of an artifact manifest
	Manifests    []Descriptor      `json:"manifests"`
	Subject      *Descriptor       `json:"subject"`
}

// Parse reads a manifest or index. The error says that the content is neither, or that it
// is ambiguous: see [ErrAmbiguous].
func Parse(body []byte) (Refs, error) {
	var doc document
	if err := json.Unmarshal(body, &doc); err != nil {
		return Refs{}, fmt.Errorf("not a manifest: %w", err)
	}
	kind, err := kindOfFields(body)
	if err != nil {
		return Refs{}, err
	}
	r := Refs{MediaType: doc.MediaType, Typed: doc.MediaType != "", ArtifactType: doc.ArtifactType, Annotations: doc.Annotations}
	if own := kindOf(doc.MediaType); kind != noKind && own != noKind && own != kind {
		return Refs{}, fmt.Errorf("its mediaType is %q, and its fields are those of an %s: %w", doc.MediaType, kind, ErrAmbiguous)
	}
	if !r.Typed {
		r.MediaType = kind.mediaType()
	}
	for _, d := range doc.Manifests {
		r.child(d)
	}
	if doc.Config != nil {
		r.ArtifactType = cmp.Or(r.ArtifactType, doc.Config.MediaType)
		r.blob(*doc.Config, false)
	}
	for _, d := range doc.Layers {
		r.blob(d, isNonDistributable(d.MediaType))
	}
	for _, d := range doc.Blobs {
		r.blob(d, false)
	}
	// A subject with a malformed digest refers to nothing, which is legal.
	if doc.Subject != nil && doc.Subject.Digest.Validate() == nil {
		r.Subject = doc.Subject
	}
	return r, nil
}

// child adds an entry of an index: a manifest, or rarely a blob.
func (r *Refs) child(d Descriptor) {
	if !IsManifest(d.MediaType) {
		r.blob(d, false)
	} else if r.check("child", &d) {
		r.Children = append(r.Children, d)
	}
}

func (r *Refs) blob(d Descriptor, optional bool) {
	if r.check("blob", &d) {
		r.Blobs = append(r.Blobs, Ref{d, optional})
	}
}

// check reports whether a descriptor has a valid digest. It shares the string of the media type,
// because many descriptors have the same few types.
func (r *Refs) check(what string, d *Descriptor) bool {
	if err := d.Digest.Validate(); err != nil {
		r.Faults = append(r.Faults, fmt.Sprintf("a %s's digest %.100q: %v", what, d.Digest, err))
		return false
	}
	d.MediaType = unique.Make(d.MediaType).Value()
	return true
}

// Media types of manifests for which the image specification's package has no name.
const (
	DockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	DockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
	ArtifactManifest   = "application/vnd.oci.artifact.manifest.v1+json"
)

// isNonDistributable reports whether a layer of the media type may be left out of a bundle or
// registry. The types are those of image-spec 1.1, layer.md, "Non-Distributable Layers", that of
// Docker's image manifest version 2, schema 2, and the uncompressed form of the latter, which
// containerd writes (core/images/mediatypes.go).
func isNonDistributable(mediaType string) bool {
	switch mediaType {
	case specs.MediaTypeImageLayerNonDistributable, specs.MediaTypeImageLayerNonDistributableGzip, specs.MediaTypeImageLayerNonDistributableZstd, //nolint:staticcheck // a source may contain them
		"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "application/vnd.docker.image.rootfs.foreign.diff.tar":
		return true
	}
	return false
}

// IsManifest reports whether content of a media type is a manifest or an index. Content whose
// descriptor states no type counts as one.
func IsManifest(mediaType string) bool {
	switch mediaType {
	case "", specs.MediaTypeImageManifest, specs.MediaTypeImageIndex, DockerManifest, DockerManifestList, ArtifactManifest:
		return true
	}
	return false
}

// maxNested is how many indexes may be nested above an image.
const maxNested = 8

// Layers returns the layers of an image, or of the first image of an index, whatever its
// platform. Errors: those of read; that there is no image.
func Layers(d digest.Digest, read func(digest.Digest) ([]byte, error)) (layers []Descriptor, err error) {
	for range maxNested {
		body, err := read(d)
		if err != nil {
			return nil, err
		}
		refs, err := Parse(body)
		if err != nil {
			return nil, err
		}
		if len(refs.Children) > 0 {
			d = refs.Children[0].Digest
			continue
		}
		for i, b := range refs.Blobs {
			if i > 0 { // after the config
				layers = append(layers, b.Descriptor)
			}
		}
		return layers, nil
	}
	return nil, fmt.Errorf("it is an index of indexes, more than %d deep", maxNested)
}
