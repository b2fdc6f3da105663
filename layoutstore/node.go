package layoutstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// key is a short form of a digest, with less than half of its bytes. This saves memory, because a
// tree may have a hundred thousand digests. The key of a sha256 digest is the sum itself. For other
// algorithms, it is the sha256 of the text of the digest.
type key [sha256.Size]byte

// keyOf returns the key of d. plain reports whether the key contains the complete digest.
func keyOf(d digest.Digest) (k key, plain bool) {
	if sum, ok := names.SHA256Sum(d); ok {
		return sum, true
	}
	return sha256.Sum256([]byte(d)), false
}

func (k key) compare(other key) int { return bytes.Compare(k[:], other[:]) }

// digest returns the digest that a plain key contains.
func (k key) digest() digest.Digest {
	const algorithm = string(digest.SHA256) + ":"
	var text [len(algorithm) + 2*sha256.Size]byte // fast, because each request needs it: package digest would use fmt
	hex.Encode(text[copy(text[:], algorithm):], k[:])
	return digest.Digest(text[:])
}

// node is a manifest to which an index leads, or a blob that an index.json lists.
type node struct {
	first   *entry // first descriptor of the manifest
	tag     string // a tag that leads to the manifest, for messages; empty if there is none
	cached  atomic.Pointer[Manifest]
	dispute *dispute // sizes and types if the descriptors in index.json files disagree, else nil
}

// dispute contains the sizes and media types in the descriptors of a manifest, if they disagree.
type dispute struct {
	sizes []int64  // sizes in bytes, without duplicates
	types []string // media types, without duplicates; a type of manifests, if any, is first
}

// maxSizes is the maximum number of sizes, and of media types, that are kept per manifest.
const maxSizes = 8

func (n *node) add(e *entry) {
	if n.first == nil {
		n.first = e
	}
	if e.size == n.first.size && e.common.mediaType == n.first.common.mediaType {
		return // in the usual case, all descriptors agree
	}
	sizes, types := n.sizes(), n.types()
	d := dispute{sizes, types}
	if !slices.Contains(sizes, e.size) && len(sizes) < maxSizes {
		d.sizes = append(sizes, e.size)
	}
	if t := e.common.mediaType; t != "" && !slices.Contains(types, t) && len(types) < maxSizes {
		d.types = append(types, t)
		if last := len(types); closure.IsManifest(t) && !closure.IsManifest(d.types[0]) {
			d.types[0], d.types[last] = t, d.types[0]
		}
	}
	if len(d.sizes) > len(sizes) || len(d.types) > len(types) {
		n.dispute = &d
	}
}

func (n *node) digest() digest.Digest {
	if m := n.cached.Load(); m != nil {
		return m.Digest
	}
	return n.first.digest()
}

// sizes returns the sizes in the index.json descriptors of the manifest, in bytes, each once.
func (n *node) sizes() []int64 {
	if n.dispute != nil {
		return n.dispute.sizes
	}
	return []int64{n.first.size}
}

// types returns the media types in the index.json descriptors of the manifest, each once.
func (n *node) types() []string {
	switch {
	case n.dispute != nil:
		return n.dispute.types
	case n.first.common.mediaType == "":
		return nil
	}
	return []string{n.first.common.mediaType}
}

// mediaType returns the first media type of manifests in the descriptors. If there is none, it
// returns the first other type.
func (n *node) mediaType() string {
	if n.dispute != nil && len(n.dispute.types) > 0 {
		return n.dispute.types[0]
	}
	return n.first.common.mediaType
}

// isManifest reports whether an index.json lists the content as a manifest, not as a blob.
func (n *node) isManifest() bool { return n.tag != "" || closure.IsManifest(n.mediaType()) }
