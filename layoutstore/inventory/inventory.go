// Package inventory defines bundle.json: the list of everything in a bundle, which a key may sign.
//
// An [Inventory] lists the files of a bundle, its repositories with their tags, and its blobs.
// [Builder] makes one, [Inventory.Encode] writes it, and [Parse] reads it. The same content
// always gives the same bytes. [Compare] compares two inventories, and [CheckFiles] compares
// one with the files of a directory.
//
// A [SigningKey] signs the bytes of an inventory, and a [VerifyKey] checks the signature.
// [Read] reads an inventory with its signature.
//
// The package never uses the network and reads no layouts: package layoutstore makes the inventory
// of a tree, and package gather that of a registry.
package inventory

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

const (
	// Name is the name of an inventory beside the archives of its bundle, or in the top
	// directory of its tree.
	Name = "bundle.json"
	// SignatureName is the name of its signature.
	SignatureName = "bundle.json.sig"
	// MaxSize is the longest inventory that is read, in bytes. One blob takes about 110.
	MaxSize = 128 << 20

	formatVersion = 1
)

// Inventory is the list of everything in a bundle. Its lists are sorted and have no duplicates.
type Inventory struct {
	FormatVersion int `json:"formatVersion"`
	// Bundle identifies the content: see [Inventory.ID].
	Bundle digest.Digest `json:"bundle"`
	// Bases are the ids of bundles that are needed in addition to this one. A complete bundle
	// has none, and this program makes only complete ones.
	Bases []digest.Digest `json:"bases"`
	// Program is the program that wrote the inventory, with its version.
	Program string `json:"program"`
	// Key identifies the key that signed the inventory: the sha256 of the public key in its
	// DER form. It is empty without a signature. It proves nothing, and only explains why a
	// signature fails.
	Key digest.Digest `json:"key,omitempty"`
	// Files are the files of the bundle, by name. The list is empty for a store or a registry.
	// Blobs of a tree are not among the files.
	Files        []File       `json:"files"`
	Repositories []Repository `json:"repositories"` // by path
	// Blobs are everything that the tags lead to, including manifests, by digest.
	Blobs []Blob `json:"blobs"`
}

// File is a file of a bundle.
type File struct {
	Name   string `json:"name"`             // slash-separated, below the directory of the bundle
	Size   int64  `json:"size"`             // bytes
	SHA256 string `json:"sha256,omitempty"` // lower-case hex; empty if unknown
}

// Repository is a repository of a bundle. Its path is that of its layout, without a root; "."
// is the root layout.
type Repository struct {
	Path string `json:"path"`
	Tags []Tag  `json:"tags"` // without discovery tags
	// Untagged are manifests that an index names without a tag.
	Untagged []Blob `json:"untagged,omitempty"`
}

// Tag is a tag and the manifest that it leads to.
type Tag struct {
	Name   string        `json:"tag"`
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"` // of the manifest; bytes
}

// Blob is a blob or a manifest.
type Blob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"` // bytes
}

// ID computes the id of the bundle: the sha256 of one line per tag, untagged manifest and blob,
// in their order. Files, the program and the key do not change it.
//
//	tag PATH TAG DIGEST SIZE
//	untagged PATH DIGEST SIZE
//	blob DIGEST SIZE
func (i *Inventory) ID() digest.Digest {
	h := sha256.New()
	for _, r := range i.Repositories {
		for _, t := range r.Tags {
			fmt.Fprintf(h, "tag %s %s %s %d\n", r.Path, t.Name, t.Digest, t.Size)
		}
		for _, m := range r.Untagged {
			fmt.Fprintf(h, "untagged %s %s %d\n", r.Path, m.Digest, m.Size)
		}
	}
	for _, b := range i.Blobs {
		fmt.Fprintf(h, "blob %s %d\n", b.Digest, b.Size)
	}
	return digest.NewDigest(digest.SHA256, h)
}

// Repository returns the repository at a path.
func (i *Inventory) Repository(path string) (*Repository, bool) {
	n, ok := slices.BinarySearchFunc(i.Repositories, path, func(r Repository, path string) int { return strings.Compare(r.Path, path) })
	if !ok {
		return nil, false
	}
	return &i.Repositories[n], true
}

// Tag returns a tag of the repository.
func (r *Repository) Tag(name string) (Tag, bool) {
	n, ok := slices.BinarySearchFunc(r.Tags, name, func(t Tag, name string) int { return strings.Compare(t.Name, name) })
	if !ok {
		return Tag{}, false
	}
	return r.Tags[n], true
}

// Blob returns the size of a blob or manifest, in bytes, if the inventory lists it.
func (i *Inventory) Blob(d digest.Digest) (size int64, ok bool) {
	n, ok := slices.BinarySearchFunc(i.Blobs, d, func(b Blob, d digest.Digest) int { return cmp.Compare(b.Digest, d) })
	if !ok {
		return 0, false
	}
	return i.Blobs[n].Size, true
}

// CountTags returns the number of tags.
func (i *Inventory) CountTags() (n int) {
	for _, r := range i.Repositories {
		n += len(r.Tags)
	}
	return n
}

// Encode returns the inventory as [Parse] reads it: one line per file, tag and blob. It fails
// if Parse would refuse it.
func (i *Inventory) Encode() ([]byte, error) {
	if err := i.check(); err != nil {
		return nil, fmt.Errorf("inventory: %w", err)
	}
	var b bytes.Buffer
	e := encoder{out: &b}
	e.line("{")
	e.field("formatVersion", i.FormatVersion)
	e.field("bundle", i.Bundle)
	e.field("bases", append([]digest.Digest{}, i.Bases...))
	e.field("program", i.Program)
	if i.Key != "" {
		e.field("key", i.Key)
	}
	list(&e, "  ", "files", i.Files, value[File](&e))
	b.WriteString(",\n")
	list(&e, "  ", "repositories", i.Repositories, func(r Repository) {
		fmt.Fprintf(&b, "{\"path\":%s,\n", encode(r.Path))
		list(&e, "     ", "tags", r.Tags, value[Tag](&e))
		if len(r.Untagged) > 0 {
			b.WriteString(",\n")
			list(&e, "     ", "untagged", r.Untagged, value[Blob](&e))
		}
		b.WriteByte('}')
	})
	b.WriteString(",\n")
	list(&e, "  ", "blobs", i.Blobs, value[Blob](&e))
	e.line("\n}")
	if b.Len() > MaxSize {
		return nil, errTooLong
	}
	return b.Bytes(), nil
}

var errTooLong = errors.New("the inventory has more than 128 MiB")

// encoder writes an inventory with one line per element.
type encoder struct{ out *bytes.Buffer }

func (e *encoder) line(text string) { e.out.WriteString(text + "\n") }

func (e *encoder) field(name string, v any) { fmt.Fprintf(e.out, "  %q:%s,\n", name, encode(v)) }

// value returns a function that writes an element on one line.
func value[T any](e *encoder) func(T) { return func(v T) { e.out.Write(encode(v)) } }

// list writes a field with a list.
func list[T any](e *encoder, indent, name string, all []T, write func(T)) {
	fmt.Fprintf(e.out, "%s%q:[", indent, name)
	for n, v := range all {
		if n > 0 {
			e.out.WriteByte(',')
		}
		e.out.WriteString("\n" + indent + " ")
		write(v)
	}
	e.out.WriteByte(']')
}

// encode returns the JSON of a value of an inventory, without HTML escapes.
func encode(v any) []byte {
	var b bytes.Buffer
	j := json.NewEncoder(&b)
	j.SetEscapeHTML(false)
	_ = j.Encode(v) // strings, numbers and structs of them cannot fail
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
