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

// These are limits for one archive. They are far above what any bundle needs.
const (
	maxEntries  = 4_000_000
	maxLayouts  = 100_000 // each layout takes a few hundred bytes here, and a kilobyte when it is served
	maxProblems = 1000
)

// tarIndex describes where the entries of a tar archive are. It is made by a scan of the headers,
// and never changes.
type tarIndex struct {
	// layouts is sorted by path.
	layouts []tarLayout
	// problems contains up to maxProblems problems of entries that are not served, one more if the
	// list is incomplete, and then the problems of tmp/ and of data after the end of the archive.
	problems []problem.Problem
	// broken is the reason why the archive has no valid end, or nil.
	broken  *problem.Problem
	entries int
	// unsure is set if a cached index could not represent everything. Then this index is not cached.
	unsure bool
	// headers maps the name of an entry to the name in its header, if they differ. See links.
	headers map[string]string
	// end is the offset after the two empty blocks at the end of the archive. It is 0 if they were not found.
	end int64
	// copyAgain contains the chunks to copy again. As long as they are not intact, the entries
	// after the break in the chain of headers are unknown.
	copyAgain []string
	// documents contains the index.json files, by the path of their layout in the archive. Only the
	// cached index of an archive in a bucket contains them.
	documents map[string]string
}

type tarLayout struct {
	path string
	// first is the number of the layout's index.json among the entries of all layouts. The numbers
	// of its blobs follow. first is set only if the index was cached.
	first int
	// index is the entry of index.json, or zero if there is none.
	index tarEntry
	blobs []tarBlob
	// odd contains the blobs of algorithms other than sha256.
	odd map[digest.Digest]tarEntry
	// lost contains the problems of entries that are known but not intact, by digest. The problem
	// of index.json has the empty digest.
	lost map[digest.Digest]problem.Problem
}

// tarEntry describes where the content of an entry is in the archive, and how long its header is.
type tarEntry struct {
	off, size int64
	header    uint32 // size in bytes of the header before off
}

func (e tarEntry) exists() bool { return e.off > 0 }

type tarBlob struct {
	sum [sha256.Size]byte
	tarEntry
}

func compareSums(b tarBlob, sum [sha256.Size]byte) int { return bytes.Compare(b.sum[:], sum[:]) }

// layout returns the layout at a path. It returns nil if there is none.
func (ix *tarIndex) layout(p string) *tarLayout {
	i, ok := slices.BinarySearchFunc(ix.layouts, p, func(l tarLayout, p string) int { return strings.Compare(l.path, p) })
	if !ok {
		return nil
	}
	return &ix.layouts[i]
}

// blob returns the entry of a blob, and its number in the layout. index.json has the number 0.
// Blobs of algorithms other than sha256 have the number -1.
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

// cleanName converts the name of an entry to a clean relative path. If that is impossible, illegal
// is the reason.
func cleanName(name string) (clean, illegal string) {
	if len(name) > maxPath {
		return "", fmt.Sprintf("a name longer than %d bytes", maxPath)
	}
	if slices.Contains(strings.Split(name, "/"), "..") {
		return "", "a name with \"..\" in it"
	}
	return path.Clean(strings.TrimLeft(name, "/")), ""
}

// isHidden reports whether a segment of a name begins with a dot.
func isHidden(name string) bool { return name[0] == '.' && name != "." || strings.Contains(name, "/.") }

// parseName parses the path of an index.json or a blob. It returns the path of the layout, and the
// digest of the blob. The digest of an index.json is empty. ok is false for any other file.
func parseName(name string) (layout string, blob digest.Digest, ok bool) {
	dir, file := path.Split(name)
	dir = strings.TrimSuffix(dir, "/")
	if file == "index.json" {
		return cmp.Or(dir, "."), "", true
	}
	return names.ParseBlobPath(name)
}
