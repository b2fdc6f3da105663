package closure

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// ErrAmbiguous means that two readers could understand one document differently. For example, one
// sees an image and the other an index (CVE-2021-41190), or they see different digests for a layer.
var ErrAmbiguous = errors.New("two readers could read it as two different manifests")

// ErrContradiction means that the media type of a manifest differs from the one that its descriptor states.
var ErrContradiction = errors.New("the manifest contradicts its descriptor")

// kind is a kind of manifest. Each kind has two media types at most.
type kind string

const (
	noKind   kind = ""
	image    kind = "image manifest"
	index    kind = "image index"
	artifact kind = "artifact manifest"
)

// kindOf returns the kind of manifest that a media type stands for.
func kindOf(mediaType string) kind {
	switch mediaType {
	case specs.MediaTypeImageManifest, DockerManifest:
		return image
	case specs.MediaTypeImageIndex, DockerManifestList:
		return index
	case ArtifactManifest:
		return artifact
	}
	return noKind
}

// mediaType returns the media type of a document of this kind that does not state its media type.
func (k kind) mediaType() string {
	switch k {
	case index:
		return specs.MediaTypeImageIndex
	case artifact:
		return ArtifactManifest
	}
	return specs.MediaTypeImageManifest
}

// Contradicts returns an error if the manifest does not have the media type that a descriptor
// states. An empty media type contradicts nothing.
func (r Refs) Contradicts(mediaType string) error {
	switch {
	case mediaType == "" || mediaType == r.MediaType:
		return nil
	case r.Typed:
		return fmt.Errorf("its mediaType is %.100q, its descriptor says %.100q: %w", r.MediaType, mediaType, ErrContradiction)
	case kindOf(mediaType) != noKind && kindOf(mediaType) != kindOf(r.MediaType):
		return fmt.Errorf("its fields are those of an %s, its descriptor says %.100q: %w", kindOf(r.MediaType), mediaType, ErrContradiction)
	}
	return nil
}

// ParseAs parses content for which descriptors state the given media types, each once. It returns
// the right media type, and the wrong ones. If the right type is not the type of a manifest, r is
// empty. ParseAs fails if the content should be a manifest but is not one, if it is ambiguous, or
// if it contradicts every descriptor.
func ParseAs(body []byte, types ...string) (r Refs, mediaType string, wrong []string, err error) {
	r, parsed := Parse(body)
	if mediaType, wrong, err = r.chooseType(parsed, types); err != nil || !IsManifest(mediaType) {
		return Refs{}, mediaType, wrong, err
	}
	return r, mediaType, wrong, nil
}

// chooseType returns the right type among those that descriptors state, and the wrong ones. parsed
// is the error of parsing the content as a manifest, or nil.
func (r Refs) chooseType(parsed error, types []string) (right string, wrong []string, err error) {
	if len(types) == 0 {
		return r.MediaType, nil, parsed
	}
	for _, t := range types {
		bad := parsed
		switch {
		case IsManifest(t) && parsed == nil:
			bad = r.Contradicts(t)
		case !IsManifest(t):
			if bad = nil; parsed == nil && r.Typed && IsManifest(r.MediaType) {
				bad = r.Contradicts(t)
			}
		}
		switch {
		case bad != nil:
			wrong = append(wrong, t)
			err = cmp.Or(err, bad)
		case right == "":
			right = t
		default:
			return right, wrong, fmt.Errorf("one descriptor says %.100q, another %.100q: %w", right, t, ErrContradiction)
		}
	}
	if right != "" {
		return right, wrong, nil
	}
	return types[0], nil, err
}

// LeadsOn reports whether to follow the descriptors in a manifest. types are the media types that
// other documents state for the manifest.
func (r Refs) LeadsOn(types []string) bool {
	return len(types) == 0 || r.Typed && IsManifest(r.MediaType) || slices.ContainsFunc(types, IsManifest)
}

// kindOfFields returns the kind of manifest that a document is, according to its fields. It fails
// if the fields belong to different kinds. It also fails if a field occurs twice for a reader that
// ignores case, such as package encoding/json. A null field counts only if no other field
// determines the kind. body must be valid JSON.
func kindOfFields(body []byte) (kind, error) {
	if at := skipSpace(body, 0); at >= len(body) || body[at] != '{' {
		return noKind, errors.New("not a manifest: not a JSON object")
	}
	known := [...]string{"schemaVersion", "mediaType", "artifactType", "config", "layers", "blobs", "manifests", "subject", "annotations", "fsLayers"}
	var seen fieldSet
	var k, empty kind
	err := eachPart(body, '{', func(key, value []byte) error {
		name, err := seen.add(key, known[:])
		if err != nil {
			return err
		}
		has := kindOfField(name)
		switch {
		case string(value) == "null":
			empty = cmp.Or(empty, has)
			return nil
		case name == "fsLayers":
			return errors.New("neither an OCI manifest nor one of Docker's schema 2: it has the fsLayers of schema 1")
		case has != noKind && k != noKind && k != has:
			return fmt.Errorf("it has the fields of an %s and of an %s: %w", k, has, ErrAmbiguous)
		}
		k = cmp.Or(has, k)
		if has != noKind || name == "subject" {
			return checkDescriptors(name, value)
		}
		return nil
	})
	return cmp.Or(k, empty), err
}

func kindOfField(name string) kind {
	switch name {
	case "config", "layers":
		return image
	case "manifests":
		return index
	case "blobs":
		return artifact
	}
	return noKind
}

// checkDescriptors fails if the value of a field contains an ambiguous descriptor.
func checkDescriptors(field string, value []byte) error {
	known := [...]string{"mediaType", "digest", "size", "urls"}
	one := func(_, descriptor []byte) error {
		var seen fieldSet
		err := eachPart(descriptor, '{', func(key, _ []byte) error {
			_, err := seen.add(key, known[:])
			return err
		})
		if err != nil {
			return fmt.Errorf("a descriptor in %s: %w", field, err)
		}
		return nil
	}
	if len(value) > 0 && value[0] == '[' {
		return eachPart(value, '[', one)
	}
	return one(nil, value)
}

// fieldSet records which known fields of an object have been seen, with one bit per field.
type fieldSet uint16

// add records a key. If the key is a known field, add returns its name, and otherwise "". add fails
// if it has seen the field before, or if the key differs from a known field only in case.
func (s *fieldSet) add(key []byte, known []string) (string, error) {
	key, ascii, err := unquote(key)
	if err != nil {
		return "", err
	}
	for i, k := range known {
		switch {
		case string(key) == k:
			if *s&(1<<i) != 0 {
				return "", fmt.Errorf("the field %q appears twice: %w", k, ErrAmbiguous)
			}
			*s |= 1 << i
			return k, nil
		case (len(key) == len(k) || !ascii) && strings.EqualFold(string(key), k):
			return "", fmt.Errorf("a field %.40q, which some readers read as %q: %w", key, k, ErrAmbiguous)
		}
	}
	return "", nil
}

// unquote returns the text of a JSON string. ascii is false if the text has an escape or a byte above 127.
func unquote(quoted []byte) (text []byte, ascii bool, err error) {
	text, ascii = quoted[1:len(quoted)-1], true
	for _, b := range text {
		if b == '\\' {
			var s string
			err := json.Unmarshal(quoted, &s)
			return []byte(s), false, err
		}
		ascii = ascii && b < 0x80
	}
	return text, ascii, nil
}

// eachPart visits the values of a JSON object, with their quoted keys, or the values of a JSON
// array. If json does not begin with open, eachPart does nothing. json must be valid.
func eachPart(json []byte, open byte, visit func(key, value []byte) error) error {
	at := skipSpace(json, 0)
	if at >= len(json) || json[at] != open {
		return nil
	}
	at = skipSpace(json, at+1)
	for at < len(json) && json[at] != '}' && json[at] != ']' {
		var key []byte
		if open == '{' {
			end := skipValue(json, at)
			key = json[at:end]
			at = skipSpace(json, end)
			at = skipSpace(json, at+1) // the colon
		}
		end := skipValue(json, at)
		if err := visit(key, json[at:end]); err != nil {
			return err
		}
		if at = skipSpace(json, end); at < len(json) && json[at] == ',' {
			at = skipSpace(json, at+1)
		}
	}
	return nil
}

func skipSpace(json []byte, at int) int {
	for at < len(json) && (json[at] == ' ' || json[at] == '\t' || json[at] == '\n' || json[at] == '\r') {
		at++
	}
	return at
}

// skipValue returns the offset just after the JSON value that begins at offset at.
func skipValue(json []byte, at int) int {
	depth := 0
	for at < len(json) {
		switch json[at] {
		case '"':
			at = skipString(json, at)
			if depth == 0 {
				return at
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return at // the value is a number, true, false or null
			}
			if depth--; depth == 0 {
				return at + 1
			}
		case ',', ':', ' ', '\t', '\n', '\r':
			if depth == 0 {
				return at
			}
		}
		at++
	}
	return at
}

// skipString returns the offset just after the JSON string that begins at offset at.
func skipString(json []byte, at int) int {
	for at++; at < len(json); at++ {
		switch json[at] {
		case '\\':
			at++
		case '"':
			return at + 1
		}
	}
	return len(json)
}
