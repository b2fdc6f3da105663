package layoutstore

import (
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

// Wrong is the problem of a copy whose bytes are not those of its digest, or cannot be
// read.
func (in *Inventory) Wrong(s Stored, reason string) Problem {
	return in.problem(s.Layout, s.Digest, Damaged, s.Where, reason)
}

// HasRead reports whether the inventory has read a copy itself, and reported what is wrong
// with it: it reads manifests.
func (in *Inventory) HasRead(l Layout, d digest.Digest) bool {
	_, ok := in.read[copyKey{l.part, d}]
	return ok
}

// Copy is the copy of d that is served: the one of the last layout that has it with a
// right size. ok is false where there is none.
func (in *Inventory) Copy(d digest.Digest) (l Layout, size int64, ok bool) {
	n := in.need[d]
	if n == nil || len(n.in) == 0 {
		return Layout{}, 0, false
	}
	last := len(n.in) - 1
	return n.in[last], n.found[last], true
}

// KeepsNothing reports whether a problem keeps nothing from being served: it is about a copy
// beside one that is right, or about one that nothing needs.
func (in *Inventory) KeepsNothing(p Problem) bool {
	if p.Digest == "" {
		return false
	}
	l, _, ok := in.Copy(p.Digest)
	if !ok {
		return in.need[p.Digest] == nil
	}
	path, entry := l.WhereBlob(p.Digest)
	return p.Path != path || p.Entry != entry
}

// manifest adds what is wrong with a manifest.
func (in *Inventory) manifest(m *closure.Manifest) {
	n := in.need[m.Digest]
	var refused *ProblemError
	switch {
	case in.repo.IsDiscovery(m.Digest):
		return
	case !n.there:
		in.missing(m.Digest)
		return
	case len(n.in) == 0:
		return // a copy was told of
	}
	last := n.in[len(n.in)-1]
	switch {
	case errors.As(m.Gap, &refused):
		in.add(last, m.Digest, refused.Problem.Kind, nil, refused.Problem.Reason)
	case m.Gap != nil:
		in.add(last, m.Digest, Damaged, nil, m.Gap.Error())
	default:
		for _, size := range m.Claims {
			if size != m.Size {
				in.add(last, m.Digest, Damaged, nil, wrongSize(m.Size, []int64{size}))
			}
		}
	}
	for _, t := range m.Contradicted {
		in.add(last, m.Digest, Damaged, nil, wrongType(t, m.MediaType))
	}
	for _, fault := range m.Refs.Faults {
		in.add(last, m.Digest, Damaged, nil, fault)
	}
}

// blob adds what is wrong with a config or layer, or with what manifests say of it.
func (in *Inventory) blob(b *closure.Blob) {
	n := in.need[b.Digest]
	if in.repo.IsDiscovery(b.Digest) || n.manifest != nil {
		return
	}
	switch {
	case n.there:
	case b.Optional && !in.lost(b.Digest):
		if take := in.found.NonDistributable; take != nil {
			take(in.problem(in.owner(b.Digest), b.Digest, Incomplete, nil, problem.NotThere+", and its media type says that it need not be"))
		}
	default:
		in.missing(b.Digest)
	}
	if len(n.in) == 0 {
		return
	}
	lies := map[int64][]string{} // tags of what says a size that no copy has
	for _, c := range b.Claims {
		if !slices.Contains(n.found, c.Size) {
			lies[c.Size] = append(lies[c.Size], c.TagsTo()...)
		}
	}
	for size, tags := range lies {
		p := in.problem(n.in[len(n.in)-1], b.Digest, Damaged, nil, wrongSize(n.found[0], []int64{size}))
		slices.Sort(tags)
		p.Tags = slices.Compact(tags)
		in.report(p)
	}
}

// missing adds a problem of what is stored nowhere, at the place where it should be.
func (in *Inventory) missing(d digest.Digest) {
	at, kind, reason := in.owner(d), Incomplete, problem.NotThere
	for _, l := range in.repo.Layouts() {
		_, err := l.Locate(d)
		lost, ok := isLost(err)
		switch {
		case ok:
			p := in.problem(l, d, lost.Kind, nil, lost.Reason)
			p.Chunks, p.Suspects = lost.Chunks, lost.Suspects
			in.report(p)
			return
		case !errors.Is(err, fs.ErrNotExist):
			at, kind, reason = l, Damaged, err.Error()
		}
	}
	in.add(at, d, kind, nil, reason)
}

// lost says whether a layout has d in a chunk that is missing, or behind an error: it
// was not left out.
func (in *Inventory) lost(d digest.Digest) bool {
	return slices.ContainsFunc(in.repo.Layouts(), func(l Layout) bool {
		_, err := l.Locate(d)
		_, ok := isLost(err)
		return err != nil && (ok || !errors.Is(err, fs.ErrNotExist))
	})
}

// owner is the last layout whose index leads to d.
func (in *Inventory) owner(d digest.Digest) Layout {
	tops := map[digest.Digest]bool{d: true}
	n := in.need[d]
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
	layouts := in.repo.Layouts()
	for _, l := range slices.Backward(layouts) {
		for top := range tops {
			if l.Names(top) {
				return l
			}
		}
	}
	return layouts[len(layouts)-1]
}

// add adds a problem; where is where the content lies, or nil to find out.
func (in *Inventory) add(l Layout, d digest.Digest, kind Kind, where extent.List, reason string) {
	if in.found.Problem != nil {
		in.report(in.problem(l, d, kind, where, reason))
	}
}

func (in *Inventory) report(p Problem) {
	if in.found.Problem != nil {
		in.found.Problem(p)
	}
}

func (in *Inventory) problem(l Layout, d digest.Digest, kind Kind, where extent.List, reason string) Problem {
	if where == nil {
		where, _ = l.Locate(d) // what cannot be located lies in no chunk
	}
	p := Problem{Kind: kind, Chunks: chunksOf(where), Repository: in.name, Layout: in.repo.path, Digest: d, Reason: reason}
	p.Path, p.Entry = l.WhereBlob(d)
	switch n := in.need[d]; {
	case n == nil:
	case n.manifest != nil:
		p.Tags, p.MediaType = n.manifest.TagsTo(), n.manifest.MediaType
	case n.blob != nil:
		p.Tags, p.MediaType = n.blob.TagsTo(), mediaTypeOfBlob(n.blob)
	}
	return p
}

// mediaTypeOfBlob is what the first manifest says that names the blob.
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

// chunksOf names the chunks that a list lies in; none where it is in another file.
func chunksOf(where extent.List) []string {
	var names []string
	for _, e := range where {
		if number, ok := volume.IsChunk(filepath.Base(e.File.String())); ok {
			names = append(names, "chunk "+number)
		}
	}
	return names
}
