package layoutstore

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// DamagedCopy returns the problem for a copy that does not match its digest, or cannot be read. If
// s.Where is nil, DamagedCopy locates the copy. The error is the cause of ctx.
func (a *Audit) DamagedCopy(ctx context.Context, s Stored, reason string) (Problem, error) {
	return a.newProblem(ctx, s.Layout, s.Digest, Damaged, s.Where, reason)
}

// HasRead reports whether the audit has read the copy of d in a layout, as a manifest.
func (a *Audit) HasRead(l Layout, d digest.Digest) bool {
	_, ok := a.read[copyKey{l.indexed, d}]
	return ok
}

// ServedCopy returns the layout whose copy of d is served, and the size of the copy in bytes. The
// layout is the last one with a copy of an accepted size. ok is false if no copy has such a size.
func (a *Audit) ServedCopy(d digest.Digest) (l Layout, size int64, ok bool) {
	n := a.need[d]
	if n == nil || len(n.layouts) == 0 {
		return Layout{}, 0, false
	}
	last := len(n.layouts) - 1
	return n.layouts[last], n.foundSizes[last], true
}

// IsHarmless reports whether everything is served in spite of p. It is true if another copy is
// served, or if nothing needs the blob.
func (a *Audit) IsHarmless(p Problem) bool {
	if p.Digest == "" {
		return false
	}
	l, _, ok := a.ServedCopy(p.Digest)
	if !ok {
		return a.need[p.Digest] == nil
	}
	path, entry := l.WhereBlob(p.Digest)
	return p.Path != path || p.Entry != entry
}

// auditManifest reports the problems of a manifest as a whole; auditCopy reports those of each copy.
// The error is the cause of ctx.
func (a *Audit) auditManifest(ctx context.Context, m *closure.Manifest) error {
	n := a.need[m.Digest]
	var refused *ProblemError
	switch {
	case a.repo.IsDiscovery(m.Digest):
		return nil
	case !n.present:
		return a.reportMissing(ctx, m.Digest, false)
	case len(n.layouts) == 0:
		return nil // auditCopy has reported the problem of each copy
	}
	last := n.layouts[len(n.layouts)-1]
	var reasons []string
	switch {
	case errors.As(m.Unavailable, &refused):
		if err := a.addProblem(ctx, last, m.Digest, refused.Problem.Kind, nil, refused.Problem.Reason); err != nil {
			return err
		}
	case m.Unavailable != nil:
		reasons = append(reasons, m.Unavailable.Error())
	default:
		for _, size := range m.Claims {
			if size != m.Size {
				reasons = append(reasons, sizeMismatch(m.Size, size))
			}
		}
	}
	for _, t := range m.Contradicted {
		reasons = append(reasons, typeMismatch(t, m.MediaType))
	}
	for _, reason := range append(reasons, m.Refs.Malformed...) {
		if err := a.addProblem(ctx, last, m.Digest, Damaged, nil, reason); err != nil {
			return err
		}
	}
	return nil
}

// auditBlob reports a missing config or layer, and wrong sizes in its descriptors. The error is the
// cause of ctx.
func (a *Audit) auditBlob(ctx context.Context, b *closure.Blob) error {
	n := a.need[b.Digest]
	if a.repo.IsDiscovery(b.Digest) || n.manifest != nil {
		return nil
	}
	if !n.present {
		if err := a.reportMissing(ctx, b.Digest, b.Optional); err != nil {
			return err
		}
	}
	if len(n.layouts) == 0 {
		return nil
	}
	mismatches := map[int64][]string{} // tags whose manifests claim a size that no copy has, by this size
	for _, c := range b.Claims {
		if !slices.Contains(n.foundSizes, c.Size) {
			mismatches[c.Size] = append(mismatches[c.Size], c.TagsTo()...)
		}
	}
	for size, tags := range mismatches {
		p, err := a.newProblem(ctx, n.layouts[len(n.layouts)-1], b.Digest, Damaged, nil, sizeMismatch(n.foundSizes[0], size))
		if err != nil {
			return err
		}
		slices.Sort(tags)
		p.Tags = slices.Compact(tags)
		a.report(p)
	}
	return nil
}

// reportMissing reports content that no layout has, at the place where it should be. An optional
// blob is a problem only if it was part of the bundle: if it is in a missing chunk, or cannot be
// read. The error is the cause of ctx.
func (a *Audit) reportMissing(ctx context.Context, d digest.Digest, optional bool) error {
	at, kind, reason := a.ownerOf(d), Incomplete, problem.Missing
	for _, l := range a.repo.Layouts() {
		_, err := l.Locate(ctx, d)
		missing, ok := missingProblem(err)
		switch {
		case err != nil && ctx.Err() != nil:
			return err
		case ok:
			p := a.problemAt(l, d, missing.Kind, nil, missing.Reason)
			p.Chunks, p.Suspects = missing.Chunks, missing.Suspects
			a.report(p)
			return nil
		case err != nil && !errors.Is(err, fs.ErrNotExist): // err is nil if a program wrote the content after the listing
			at, kind, reason = l, Damaged, err.Error()
		}
	}
	if optional && kind == Incomplete {
		if take := a.found.NonDistributable; take != nil {
			take(a.problemAt(at, d, kind, nil, reason+", but its media type allows this"))
		}
		return nil
	}
	return a.addProblem(ctx, at, d, kind, nil, reason)
}

// ownerOf returns the last layout whose index refers to d, directly or through other manifests.
func (a *Audit) ownerOf(d digest.Digest) Layout {
	tops := map[digest.Digest]bool{d: true}
	n := a.need[d]
	by := []*closure.Manifest{n.manifest}
	if n.blob != nil {
		for _, c := range n.blob.Claims {
			by = append(by, c.By)
		}
	}
	for _, m := range by {
		if m == nil {
			continue
		}
		for _, top := range m.Tops() {
			tops[top.Digest] = true
		}
	}
	layouts := a.repo.Layouts()
	for _, l := range slices.Backward(layouts) {
		for top := range tops {
			if l.indexed.index.names(top) {
				return l
			}
		}
	}
	return layouts[len(layouts)-1]
}

// addProblem reports a problem of content in a layout. where may be nil, as for newProblem. The
// error is the cause of ctx.
func (a *Audit) addProblem(ctx context.Context, l Layout, d digest.Digest, kind Kind, where extent.List, reason string) error {
	if a.found.Problem == nil {
		return nil
	}
	p, err := a.newProblem(ctx, l, d, kind, where, reason)
	if err == nil {
		a.report(p)
	}
	return err
}

func (a *Audit) report(p Problem) {
	if a.found.Problem != nil {
		a.found.Problem(p)
	}
}

// newProblem returns a problem of content in a layout. If where is nil, newProblem locates the
// content. The error is the cause of ctx.
func (a *Audit) newProblem(ctx context.Context, l Layout, d digest.Digest, kind Kind, where extent.List, reason string) (Problem, error) {
	if where == nil {
		var err error
		if where, err = l.Locate(ctx, d); err != nil && ctx.Err() != nil {
			return Problem{}, err
		}
	}
	return a.problemAt(l, d, kind, where, reason), nil
}

// problemAt returns a problem of content in a layout. If where is nil, the problem names no chunks.
func (a *Audit) problemAt(l Layout, d digest.Digest, kind Kind, where extent.List, reason string) Problem {
	p := Problem{Kind: kind, Chunks: chunksOf(where), Repository: a.name, Layout: a.repo.path, Digest: d, Reason: reason}
	p.Path, p.Entry = l.WhereBlob(d)
	switch n := a.need[d]; {
	case n == nil:
	case n.manifest != nil:
		p.Tags, p.MediaType = n.manifest.TagsTo(), n.manifest.MediaType
	case n.blob != nil:
		p.Tags, p.MediaType = n.blob.TagsTo(), mediaTypeOfBlob(n.blob)
	}
	return p
}

// mediaTypeOfBlob returns the media type in the first manifest that refers to b.
func mediaTypeOfBlob(b *closure.Blob) string {
	for _, c := range b.Claims {
		if c.By == nil {
			continue
		}
		for _, ref := range c.By.Refs.Blobs {
			if ref.Digest == b.Digest {
				return ref.MediaType
			}
		}
	}
	return ""
}

// chunksOf returns the names of the chunks in a list of extents, in the form "chunk 0003".
func chunksOf(where extent.List) []string {
	var names []string
	for _, e := range where {
		if number, ok := volume.IsChunk(filepath.Base(e.File.String())); ok {
			names = append(names, "chunk "+number)
		}
	}
	return names
}
