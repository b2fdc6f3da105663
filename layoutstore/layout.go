package layoutstore

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// Layout is one OCI image layout: the share that one volume has in a repository.
type Layout struct{ part *part }

// Layouts are the repository's layouts in the order of their union: a later one wins
// a tag. There is none where discovery tags are all that the repository has.
func (r *Repository) Layouts() []Layout {
	layouts := make([]Layout, len(r.parts))
	for i, p := range r.parts {
		layouts[i] = Layout{p}
	}
	return layouts
}

// Where is where a person would look for the layout: a path in the file system, and
// in an archive the entry.
func (l Layout) Where() (path, entry string) {
	at := l.part.where()
	return at.path, at.entry
}

// WhereBlob is where a person would look for a blob of the layout, whether it is
// there or not: a file, or an archive and the entry in it.
func (l Layout) WhereBlob(d digest.Digest) (file, entry string) {
	at := l.part.where().blob(d)
	return at.path, at.entry
}

// Blobs are the digests by which blobs lie in the layout, needed or not, by byte
// order. Errors: the context's; the file system's.
func (l Layout) Blobs(ctx context.Context) ([]digest.Digest, error) {
	return l.part.vol.Blobs(ctx, l.part.path)
}

// Names says whether the layout's index names d.
func (l Layout) IndexContains(d digest.Digest) bool { return l.part.index.names(d) }

// Volume is the directory or archive that the layout lies in, as the user gave it.
func (l Layout) Volume() string { return l.part.vol.String() }

// Locate says where a blob of the layout lies, whatever its size and bytes. Errors
// wrap fs.ErrNotExist where there is none, as *ProblemError where it is known which
// chunk to copy again; others are the file system's.
func (l Layout) Locate(d digest.Digest) (extent.List, error) {
	return l.part.vol.Locate(l.part.path, d)
}

// Chunks names the chunks of an archive that a blob of the layout is stored in, as "chunk
// 0003". There are none where it is in another file.
func (l Layout) Chunks(d digest.Digest) []string {
	where, _ := l.Locate(d) // what cannot be located is in no chunk
	return chunksOf(where)
}

// IndexEntry is a descriptor of an index.json.
type IndexEntry struct {
	Descriptor
	Tag    string          // empty where it has none, or an illegal one
	Raw    json.RawMessage // the descriptor as it stands there, annotations and all
	Number int             // of the descriptor in the file, from 0 on
	// ByDigest says that its short tag is a digest: it has no tag, and is to have none.
	ByDigest bool
	// Repository is what its reference names, where there is no short tag. Where one
	// index names several, that decides which of them has its tags.
	Repository string
}

// Index reads the descriptors of the layout's index.json, in their order, without
// those whose digest is none. Errors: ErrStale where the index is another one by now;
// the file system's.
func (l Layout) Index() ([]IndexEntry, error) {
	data, err := readIndexFile(l.part.at)
	if err != nil {
		return nil, err
	}
	if sha256.Sum256(data) != l.part.index.sum {
		return nil, fmt.Errorf("index.json of %s: %w", l.part.where(), ErrStale)
	}
	return ParseIndex(data, l.part.path)
}

// ParseIndex parses the index.json of the layout at path as a tree does.
func ParseIndex(data []byte, path string) ([]IndexEntry, error) {
	ix, err := parseIndex(data, path)
	if err != nil {
		return nil, err
	}
	var raw struct {
		Manifests []json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, err
	}
	entries := make([]IndexEntry, len(ix.entries))
	for i, e := range ix.entries {
		d := Descriptor{MediaType: e.common.mediaType, Digest: e.digest(), Size: e.size}
		entries[i] = IndexEntry{d, e.tag, raw.Manifests[e.number], int(e.number), e.common.byDigest, e.common.repository}
	}
	return entries, nil
}
