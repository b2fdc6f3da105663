package volume

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// Limits of an archive, far above what any bundle needs.
const (
	maxEntries  = 4_000_000
	maxLayouts  = 100_000 // each takes some hundred bytes here, and a kilobyte when it is served
	maxProblems = 1000
)

// tarIndex is where the entries of a tar archive are. A scan of the headers makes it, and it
// never changes.
type tarIndex struct {
	layouts  []tarLayout       // by path
	problems []problem.Problem // of entries that are not served; at most maxProblems, and one more if the list is cut
	broken   *problem.Problem  // why the archive has no valid end
	entries  int
	// unsure is set if a cached index could not represent everything: then this index is not cached.
	unsure  bool
	headers map[string]string // of links
	// end is the byte behind the two empty blocks at the end of the archive; 0 if they were not
	// found.
	end int64
	// copyAgain are the chunks to copy again: while they are not intact, the entries after the
	// break in the chain of headers are unknown.
	copyAgain []string
	// documents are the index.json files of the layouts, by the path of the layout. Only the
	// cached index of an archive in a bucket has them.
	documents map[string]string
}

// tarLayout is a layout of an archive.
type tarLayout struct {
	path  string
	first int      // number of its index.json among the entries of all layouts, before its blobs; set if the index was cached
	index tarEntry // of index.json; the zero value without one
	blobs []tarBlob
	odd   map[digest.Digest]tarEntry // blobs of other algorithms than sha256
	// lost are the problems of entries that are known but not intact, by digest; that of
	// index.json is under the empty digest.
	lost map[digest.Digest]problem.Problem
}

// tarEntry is where the content of an entry is in the archive, and how long its header is.
type tarEntry struct {
	off, size int64
	header    uint32 // bytes of header before off
}

func (e tarEntry) exists() bool { return e.off > 0 }

type tarBlob struct {
	sum [sha256.Size]byte
	tarEntry
}

func compareSums(b tarBlob, sum [sha256.Size]byte) int { return bytes.Compare(b.sum[:], sum[:]) }

// layout returns the layout at path, or nil.
func (ix *tarIndex) layout(p string) *tarLayout {
	i, ok := slices.BinarySearchFunc(ix.layouts, p, func(l tarLayout, p string) int { return strings.Compare(l.path, p) })
	if !ok {
		return nil
	}
	return &ix.layouts[i]
}

// blob returns where the blob d is, and its number among the layout's entries, of which
// index.json is number 0. Blobs of algorithms other than sha256 have the number -1.
func (l *tarLayout) blob(d digest.Digest) (e tarEntry, number int, ok bool) {
	sum, plain := names.SHA256Sum(d)
	if !plain {
		e, ok := l.odd[d]
		return e, -1, ok
	}
	i, ok := slices.BinarySearchFunc(l.blobs, sum, compareSums)
	if !ok {
		return tarEntry{}, -1, false
	}
	return l.blobs[i].tarEntry, i + 1, true
}

// cleanName returns an entry's name as a clean relative path. illegal is why that is impossible,
// or empty.
func cleanName(name string) (clean, illegal string) {
	if len(name) > maxPath {
		return "", fmt.Sprintf("a name longer than %d bytes", maxPath)
	}
	if slices.Contains(strings.Split(name, "/"), "..") {
		return "", "a name with \"..\" in it"
	}
	return path.Clean(strings.TrimLeft(name, "/")), ""
}

// isHidden reports whether a segment of name begins with a dot.
func isHidden(name string) bool { return name[0] == '.' && name != "." || strings.Contains(name, "/.") }

// parseName returns the layout to which an index.json or a blob belongs, and the digest of the
// blob, which is empty for an index.json. ok is false for any other file.
func parseName(name string) (layout string, blob digest.Digest, ok bool) {
	dir, file := path.Split(name)
	dir = strings.TrimSuffix(dir, "/")
	if file == "index.json" {
		return cmp.Or(dir, "."), "", true
	}
	return names.ParseBlobPath(name)
}
