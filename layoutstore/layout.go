package layoutstore

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// Layout is an OCI image layout in one volume. A repository may have several.
type Layout struct{ indexed *indexedLayout }

// Layouts returns the layouts of the repository in merge order: if several have the same tag, the
// last layout wins. A repository with only discovery tags has no layouts.
func (r *Repository) Layouts() []Layout {
	layouts := make([]Layout, len(r.layouts))
	for i, p := range r.layouts {
		layouts[i] = Layout{p}
	}
	return layouts
}

// Where returns the place of the layout, for messages. path is a directory, an archive or a place in a
// bucket. In an archive or in a store in a bucket, entry is the path of the layout.
func (l Layout) Where() (path, entry string) {
	at := l.indexed.where()
	return at.path, at.entry
}

// WhereBlob returns the place of a blob of the layout, for messages, even if the blob is missing. file is
// a file, an archive, or a place in a bucket. In an archive or a store in a bucket, entry is the blob's path.
func (l Layout) WhereBlob(d digest.Digest) (file, entry string) {
	at := l.indexed.where().blob(d)
	return at.path, at.entry
}

// Blobs lists the digests of all blobs in the layout, sorted, including those to which no manifest
// refers. It does not read the blobs. The error is the context's or the file system's.
func (l Layout) Blobs(ctx context.Context) ([]digest.Digest, error) {
	all, err := l.indexed.vol.Blobs(ctx, l.indexed.path)
	return all, orEnded(ctx, err)
}

// Volume returns the path of the directory or archive with the layout, as the user gave it.
func (l Layout) Volume() string { return l.indexed.vol.String() }

// Locate finds where a blob of the layout is stored. It does not check the size or the content. If
// there is no such blob, the error is fs.ErrNotExist. If the blob is in a missing chunk, or if no
// signed inventory lists it, the error is a *ProblemError that wraps fs.ErrNotExist. Other errors are
// the cause of ctx and the file system's.
func (l Layout) Locate(ctx context.Context, d digest.Digest) (extent.List, error) {
	if !l.indexed.trust.hasBlob(d) {
		return nil, notSigned(d)
	}
	where, err := l.indexed.vol.Locate(ctx, l.indexed.path, d)
	return where, orEnded(ctx, err)
}

// orEnded returns err. If err is not nil and ctx has ended, it returns the cause of ctx instead:
// the error may then have nothing to do with the content, so callers must not report damage.
func orEnded(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Chunks returns the names of the chunks that contain a blob of the layout, in the form "chunk
// 0003". It returns none if the blob is not in a chunk set. The error is the cause of ctx.
func (l Layout) Chunks(ctx context.Context, d digest.Digest) ([]string, error) {
	where, err := l.Locate(ctx, d)
	if err != nil && ctx.Err() != nil {
		return nil, err
	}
	return chunksOf(where), nil
}

// IndexEntry is a descriptor in an index.json.
type IndexEntry struct {
	Descriptor
	Tag      string          // empty if the tag is missing or illegal
	Raw      json.RawMessage // the original descriptor, with its annotations
	Number   int             // position of the descriptor in the file, from 0
	ByDigest bool            // whether the short tag is a digest, so the image has no tag on purpose
	// Repository is the repository in the reference of the descriptor. It is empty if there is a
	// short tag. If an index refers to several repositories, Repository decides which tags count.
	Repository string
}

// Index reads the descriptors of the layout's index.json, in their order. It skips descriptors with
// a malformed digest. If the source needs a signature, it also skips unsigned descriptors. The
// error is ErrStale if the index was replaced, the cause of ctx, or the file system's.
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

// HasTagsOfSeveralRepositories reports whether the tags in the index of the layout at path belong to several
// repositories. This is possible only in a root layout. Only the tags of one of these repositories
// count, and which one may depend on the root under which the layout is served.
func HasTagsOfSeveralRepositories(path string, entries []IndexEntry) bool {
	first := ""
	for _, e := range entries {
		if path != "." || e.Tag == "" || e.Repository == "" {
			continue
		}
		if first = cmp.Or(first, e.Repository); e.Repository != first {
			return true
		}
	}
	return false
}

// ParseIndex parses the index.json of the layout at path as a scan does.
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
