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

// ErrAmbiguous says that two readers could read different things from one document: an image
// and an index (CVE-2021-41190), or two digests for one layer.
var ErrAmbiguous = errors.New("two readers could read it as two different manifests")

// ErrContradiction says that a manifest has another media type than its descriptor states.
var ErrContradiction = errors.New("the manifest contradicts its descriptor")

// kind is the kind of a manifest.
type kind string

const (
	noKind   kind = ""
	image    kind = "image manifest"
	index    kind = "image index"
	artifact kind = "artifact manifest"
)

// kindOf returns the kind of a media type.
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

// mediaType returns the media type of a document of this kind if the document states none.
func (k kind) mediaType() string {
	switch k {
	case index:
		return specs.MediaTypeImageIndex
	case artifact:
		return ArtifactManifest
	}
	return specs.MediaTypeImageManifest
}

// Contradicts returns why the manifest is not of the media type that a descriptor
// states, or nil. An empty media type states nothing.
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

// ParseAs parses content whose descriptors state these media types, each once. It returns the
// right type, and the wrong ones. r is empty if the right type is not that of a manifest. The
// error says that the content should be a manifest and is not, that it is ambiguous, or that it
// contradicts every descriptor.
func ParseAs(body []byte, types ...string) (r Refs, mediaType string, wrong []string, err error) {
	r, parsed := Parse(body)
	if mediaType, wrong, err = r.chooseType(parsed, types); err != nil || !IsManifest(mediaType) {
		return Refs{}, mediaType, wrong, err
	}
	return r, mediaType, wrong, nil
}

// chooseType returns the right one of the types that descriptors state, and the wrong ones.
// parsed is why the content is not a manifest, or nil.
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

// LeadsOn reports whether to follow the descriptors in a manifest, given the media types that
// the descriptors of the manifest state.
func (r Refs) LeadsOn(types []string) bool {
	return len(types) == 0 || r.Typed && IsManifest(r.MediaType) || slices.ContainsFunc(types, IsManifest)
}

// kindOfFields returns the kind that has the fields of a document. It fails if different kinds have
// them, or if a reader that ignores case, such as package encoding/json, would find a field twice.
// A field that is null counts only if no other field determines the kind. body must be valid JSON.
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

// kindOfField returns the kind that has a field of this name.
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

// checkDescriptors fails if a descriptor in the value of a field is ambiguous.
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

// fieldSet is the set of known fields of an object seen so far, one bit per field.
type fieldSet uint16

// add adds a key, and returns the known field of that name, or "". It fails if the key differs
// from a known field only in case, or was added before.
func (s *fieldSet) add(key []byte, known []string) (string, error) {
	key, ascii, err := unquote(key)
	if err != nil {
		return "", err
	}
	for i, k := range known {
		switch {
		case string(key) == k:
			if *s&(1<<i) != 0 {
				return "", fmt.Errorf("%q twice: %w", k, ErrAmbiguous)
			}
			*s |= 1 << i
			return k, nil
		case (len(key) == len(k) || !ascii) && strings.EqualFold(string(key), k):
			return "", fmt.Errorf("a field %.40q, which some readers read as %q: %w", key, k, ErrAmbiguous)
		}
	}
	return "", nil
}

// unquote returns the text of a JSON string, and whether it is all ASCII.
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

// eachPart visits the values of an object, with their keys in quotes, or of an array, if json begins
// with open. json must be valid.
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

// skipValue returns the end of the value that begins at an offset.
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
				return at // after a number or a word
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

// skipString returns the end of the string that begins at an offset.
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
