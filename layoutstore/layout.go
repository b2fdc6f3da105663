package layoutstore

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// Layout is one OCI image layout of a repository, in one volume.
type Layout struct{ indexed *indexedLayout }

// Layouts returns the repository's layouts in merge order: a later one wins a tag. A repository
// with only discovery tags has no layout.
func (r *Repository) Layouts() []Layout {
	layouts := make([]Layout, len(r.layouts))
	for i, p := range r.layouts {
		layouts[i] = Layout{p}
	}
	return layouts
}

// Where returns the place of the layout for a message: the path of a directory, or of an
// archive and the entry in it.
func (l Layout) Where() (path, entry string) {
	at := l.indexed.where()
	return at.path, at.entry
}

// WhereBlob returns the place of a blob of the layout for a message: a file, or an archive and
// the entry in it. The blob may be missing.
func (l Layout) WhereBlob(d digest.Digest) (file, entry string) {
	at := l.indexed.where().blob(d)
	return at.path, at.entry
}

// Blobs lists the digests in the names of the layout's blob files, needed or not, sorted.
// Errors: the context's; the file system's.
func (l Layout) Blobs(ctx context.Context) ([]digest.Digest, error) {
	all, err := l.indexed.vol.Blobs(ctx, l.indexed.path)
	return all, orEnded(ctx, err)
}

// Volume returns the path of the directory or archive of the layout, as the user gave it.
func (l Layout) Volume() string { return l.indexed.vol.String() }

// Locate locates a blob of the layout, whatever its size and content. Errors: the cause of
// ctx, which says nothing about the blob; fs.ErrNotExist, in a *ProblemError if the chunk to
// copy again is known or no signed inventory lists the blob; the file system's.
func (l Layout) Locate(ctx context.Context, d digest.Digest) (extent.List, error) {
	if !l.indexed.trust.hasBlob(d) {
		return nil, notSigned(d)
	}
	where, err := l.indexed.vol.Locate(ctx, l.indexed.path, d)
	return where, orEnded(ctx, err)
}

// orEnded returns err, or the cause of ctx if ctx has ended: then err may not be about the
// content, and no caller may report it as damage.
func orEnded(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Chunks returns the names of the chunks that contain a blob of the layout, as "chunk 0003".
// It returns none if the blob is in no chunk. The error is the cause of ctx.
func (l Layout) Chunks(ctx context.Context, d digest.Digest) ([]string, error) {
	where, err := l.Locate(ctx, d)
	if err != nil && ctx.Err() != nil {
		return nil, err
	}
	return chunksOf(where), nil
}

// IndexEntry is a descriptor of an index.json.
type IndexEntry struct {
	Descriptor
	Tag      string          // empty if missing or illegal
	Raw      json.RawMessage // the original descriptor, with its annotations
	Number   int             // position of the descriptor in the file, from 0
	ByDigest bool            // the short tag is a digest: the image has no tag on purpose
	// Repository is the repository in the descriptor's reference, if there is no short tag. It
	// decides which tags count in an index that names several repositories.
	Repository string
}

// Index reads the descriptors of the layout's index.json, in their order. It leaves out
// descriptors with a malformed digest, and with a key unsigned ones. Errors: the cause of ctx;
// ErrStale if the index was replaced; the file system's.
func (l Layout) Index(ctx context.Context) ([]IndexEntry, error) {
	data, err := readIndexFile(ctx, l.indexed.indexFile)
	if err != nil {
		return nil, orEnded(ctx, err)
	}
	if sha256.Sum256(data) != l.indexed.index.sum {
		return nil, fmt.Errorf("index.json of %s: %w", l.indexed.where(), ErrStale)
	}
	entries, err := ParseIndex(data, l.indexed.path)
	if err != nil || l.indexed.trust == nil {
		return entries, err
	}
	return l.indexed.signedEntries(entries), nil
}

// ParseIndex parses the index.json of the layout at path in the same way as a scan.
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
