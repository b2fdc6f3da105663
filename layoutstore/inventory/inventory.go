// Package inventory defines bundle.json: the list of everything in a bundle, which may be signed.
//
// An [Inventory] lists the files of a bundle, its repositories with their tags, and its blobs.
// [Builder] makes an inventory, [Inventory.Encode] encodes it, and [Parse] parses it. The same
// content always gives the same bytes. [Compare] compares two inventories. [Inventory.CheckFiles]
// compares an inventory with the files in a directory.
//
// A [SigningKey] signs the bytes of an inventory, and a [VerifyKey] checks the signature.
// [Read] reads an inventory with its signature.
//
// The package does not use the network or read layouts. Package layoutstore makes the inventory of
// a tree, and package gather makes that of a registry.
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
	// Name is the file name of an inventory. The file is beside the archives of its bundle, or in
	// the top directory of its tree.
	Name = "bundle.json"
	// SignatureName is the file name of the signature of an inventory.
	SignatureName = "bundle.json.sig"
	// MaxSize is the maximum size of an inventory in bytes. Each blob takes about 110 bytes.
	MaxSize = 128 << 20

	formatVersion = 1
)

// Inventory is the list of everything in a bundle. Its lists are sorted and have no duplicates.
type Inventory struct {
	FormatVersion int `json:"formatVersion"`
	// Bundle is the id of the content: see [Inventory.ID].
	Bundle digest.Digest `json:"bundle"`
	// Bases are the ids of other bundles that this bundle needs. A complete bundle has none. This
	// program makes only complete bundles.
	Bases []digest.Digest `json:"bases"`
	// Program is the name and version of the program that wrote the inventory.
	Program string `json:"program"`
	// Key is the id of the key that signed the inventory: the sha256 of the public key in DER form.
	// It is empty if layoutproxy has not signed the inventory. The id proves nothing, but helps to
	// explain a wrong signature.
	Key digest.Digest `json:"key,omitempty"`
	// Files are the files of the bundle, sorted by name. The list is empty for a store or a registry.
	// It does not include the blobs of a tree.
	Files        []File       `json:"files"`
	Repositories []Repository `json:"repositories"` // sorted by path
	// Blobs are all blobs to which the indexes lead, including manifests, sorted by digest.
	Blobs []Blob `json:"blobs"`
}

// File is a file in a bundle.
type File struct {
	Name   string `json:"name"`             // path relative to the directory of the bundle, with slashes
	Size   int64  `json:"size"`             // size in bytes
	SHA256 string `json:"sha256,omitempty"` // 64 lower-case hex digits; empty if unknown
}

// Repository is a repository in a bundle. Its path is the path of its layout, without a root. "."
// is the root layout.
type Repository struct {
	Path string `json:"path"`
	Tags []Tag  `json:"tags"` // all tags except discovery tags
	// Untagged are the manifests that an index contains without a tag.
	Untagged []Blob `json:"untagged,omitempty"`
}

// Tag is a tag with the digest and the size of its manifest.
type Tag struct {
	Name   string        `json:"tag"`
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"` // size of the manifest in bytes
}

// Blob is the digest and the size of a blob or a manifest.
type Blob struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"` // bytes
}

// ID computes the id of the bundle. It is the sha256 of a text with one line per tag, untagged
// manifest and blob, in their order. It does not depend on files, the program or the key.
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

// Repository returns the repository at a path. ok is false if the inventory does not list it.
func (i *Inventory) Repository(path string) (*Repository, bool) {
	n, ok := slices.BinarySearchFunc(i.Repositories, path, func(r Repository, path string) int { return strings.Compare(r.Path, path) })
	if !ok {
		return nil, false
	}
	return &i.Repositories[n], true
}

// Tag returns a tag of the repository. ok is false if the inventory does not list it.
func (r *Repository) Tag(name string) (Tag, bool) {
	n, ok := slices.BinarySearchFunc(r.Tags, name, func(t Tag, name string) int { return strings.Compare(t.Name, name) })
	if !ok {
		return Tag{}, false
	}
	return r.Tags[n], true
}

// Blob returns the size of a blob or manifest in bytes. ok is false if no such blob is listed.
func (i *Inventory) Blob(d digest.Digest) (size int64, ok bool) {
	n, ok := slices.BinarySearchFunc(i.Blobs, d, func(b Blob, d digest.Digest) int { return cmp.Compare(b.Digest, d) })
	if !ok {
		return 0, false
	}
	return i.Blobs[n].Size, true
}

// CountTags returns the number of tags in all repositories.
func (i *Inventory) CountTags() (n int) {
	for _, r := range i.Repositories {
		n += len(r.Tags)
	}
	return n
}

// Encode returns the JSON of the inventory, with one line per file, tag and blob. It fails if
// [Parse] would refuse the JSON.
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

// encoder writes the JSON of an inventory, with one line per list element.
type encoder struct{ out *bytes.Buffer }

func (e *encoder) line(text string) { e.out.WriteString(text + "\n") }

func (e *encoder) field(name string, v any) { fmt.Fprintf(e.out, "  %q:%s,\n", name, encode(v)) }

// value returns a function that writes the JSON of an element on one line.
func value[T any](e *encoder) func(T) { return func(v T) { e.out.Write(encode(v)) } }

// list writes a field whose value is a list.
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

// encode returns the JSON of a value, without HTML escapes.
func encode(v any) []byte {
	var b bytes.Buffer
	j := json.NewEncoder(&b)
	j.SetEscapeHTML(false)
	_ = j.Encode(v) // encoding strings, numbers and structs of them cannot fail
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
