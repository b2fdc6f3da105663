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

// key represents a digest in less than half of its bytes, because a tree may have a hundred
// thousand digests. It is the sum itself for sha256, and the sha256 of the digest's text for
// other algorithms.
type key [sha256.Size]byte

// keyOf returns the key of d. plain is set if the key contains the digest.
func keyOf(d digest.Digest) (k key, plain bool) {
	if sum, ok := names.SHA256Sum(d); ok {
		return sum, true
	}
	return sha256.Sum256([]byte(d)), false
}

func (k key) compare(other key) int { return bytes.Compare(k[:], other[:]) }

// digest returns the sha256 digest of a plain key.
func (k key) digest() digest.Digest {
	const algorithm = string(digest.SHA256) + ":"
	var text [len(algorithm) + 2*sha256.Size]byte // each request does this, and package digest would use fmt
	hex.Encode(text[copy(text[:], algorithm):], k[:])
	return digest.Digest(text[:])
}

// node is a manifest that is reachable from an index.
type node struct {
	first   *entry // the first descriptor of the manifest
	tag     string // a tag that leads to the manifest, for problems; may be empty
	cached  atomic.Pointer[Manifest]
	dispute *dispute // nil if all descriptors in index.json files agree
}

// dispute is the set of sizes and media types in the descriptors of one manifest.
type dispute struct {
	sizes []int64  // each once; bytes
	types []string // each once; a media type of manifests is first
}

// maxSizes bounds the sizes and media types that are kept per manifest. At most one is right.
const maxSizes = 8

// add adds one more descriptor.
func (n *node) add(e *entry) {
	if n.first == nil {
		n.first = e
	}
	if e.size == n.first.size && e.common.mediaType == n.first.common.mediaType {
		return // all descriptors agree, which is the usual case
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

// sizes returns the sizes in the manifest's descriptors in index.json files, each once; bytes.
func (n *node) sizes() []int64 {
	if n.dispute != nil {
		return n.dispute.sizes
	}
	return []int64{n.first.size}
}

// types returns the media types in the manifest's descriptors in index.json files, each once.
func (n *node) types() []string {
	switch {
	case n.dispute != nil:
		return n.dispute.types
	case n.first.common.mediaType == "":
		return nil
	}
	return []string{n.first.common.mediaType}
}

// mediaType returns the first media type in the descriptors, preferably one of manifests.
func (n *node) mediaType() string {
	if n.dispute != nil && len(n.dispute.types) > 0 {
		return n.dispute.types[0]
	}
	return n.first.common.mediaType
}

// isManifest reports whether an index names the node as a manifest, not as a blob.
func (n *node) isManifest() bool { return n.tag != "" || closure.IsManifest(n.mediaType()) }
