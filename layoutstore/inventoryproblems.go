package layoutstore

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// Gap is something that a repository needs and does not have as it should be, or a
// copy of a blob that is not what its name says.
type Gap struct {
	Kind Kind `json:"kind"`
	// Path is that of the file, or of the archive with the entry in it; Chunks are
	// the archive's, as "chunk 0003": where the content lies, or, of what is not there,
	// the chunks to copy again.
	Path   string   `json:"path"`
	Entry  string   `json:"entry"`
	Chunks []string `json:"chunks"`
	// Repository is its name as it is served, below the first root.
	Repository string        `json:"repository"`
	Tags       []string      `json:"tags"`               // that lead to it, sorted; not to be changed
	MoreTags   int           `json:"moreTags,omitempty"` // that a report leaves out
	Digest     digest.Digest `json:"digest"`
	MediaType  string        `json:"mediaType"`
	Reason     string        `json:"reason"`
}

// Wrong is the gap that a copy makes whose bytes are not those of its digest, or
// cannot be read.
func (in *Inventory) Wrong(s Stored, reason string) Gap {
	return in.gap(s.Layout, s.Digest, Damaged, s.Where, reason)
}

// Reported says whether the inventory has reported a copy of a manifest for the same
// reason already, as the bytes of manifests are looked at in any case.
func (in *Inventory) Reported(s Stored, reason string) bool {
	n := in.need[s.Digest]
	known, ok := in.reported[s.Digest]
	return ok && known == reason && n.in[0] == s.Layout
}

// manifest adds what is wrong with a manifest.
func (in *Inventory) manifest(m *closure.Manifest) {
	n := in.need[m.Digest]
	var corrupt *CorruptError
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
	case errors.As(m.Gap, &corrupt):
		in.reported[m.Digest] = corrupt.Reason
		in.add(n.in[0], m.Digest, corrupt.Kind, nil, corrupt.Reason)
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
			take(in.gap(in.owner(b.Digest), b.Digest, Incomplete, nil, "not there, and its media type says that it need not be"))
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
		g := in.gap(n.in[len(n.in)-1], b.Digest, Damaged, nil, wrongSize(n.found[0], []int64{size}))
		slices.Sort(tags)
		g.Tags = slices.Compact(tags)
		in.report(g)
	}
}

// missing adds a gap for what lies nowhere, at the place where it should.
func (in *Inventory) missing(d digest.Digest) {
	at, kind, reason := in.owner(d), Incomplete, "not there"
	for _, l := range in.repo.Layouts() {
		_, err := l.Locate(d)
		var lost *LostError
		switch {
		case errors.As(err, &lost):
			g := in.gap(l, d, lost.Kind, nil, lost.Reason)
			g.Chunks = lost.In
			in.report(g)
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
		var lost *LostError
		return err != nil && (errors.As(err, &lost) || !errors.Is(err, fs.ErrNotExist))
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

// add adds a gap; where is where the content lies, or nil to find out.
func (in *Inventory) add(l Layout, d digest.Digest, kind Kind, where extent.List, reason string) {
	if in.found.Gap != nil {
		in.report(in.gap(l, d, kind, where, reason))
	}
}

func (in *Inventory) report(g Gap) {
	if in.found.Gap != nil {
		in.found.Gap(g)
	}
}

func (in *Inventory) gap(l Layout, d digest.Digest, kind Kind, where extent.List, reason string) Gap {
	if where == nil {
		where, _ = l.Locate(d) // what cannot be located lies in no chunk
	}
	g := Gap{Kind: kind, Chunks: chunksOf(where), Repository: in.name, Tags: []string{}, Digest: d, Reason: reason}
	g.Path, g.Entry = l.WhereBlob(d)
	switch n := in.need[d]; {
	case n == nil:
	case n.manifest != nil:
		g.Tags, g.MediaType = n.manifest.TagsTo(), n.manifest.MediaType
	case n.blob != nil:
		g.Tags, g.MediaType = n.blob.TagsTo(), mediaTypeOfBlob(n.blob)
	}
	if g.Tags == nil {
		g.Tags = []string{}
	}
	return g
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

// maxNamedChunks bounds the chunks that a text names one by one.
const maxNamedChunks = 8

// chunkText is what chunksOf returns as one text.
func chunkText(where extent.List) string {
	names := chunksOf(where)
	if len(names) > maxNamedChunks {
		return names[0] + " to " + names[len(names)-1]
	}
	return strings.Join(names, " and ")
}

// chunksOf names the chunks that a list lies in; none where it is in another file.
func chunksOf(where extent.List) []string {
	names := []string{}
	for _, e := range where {
		if number, ok := volume.IsChunk(filepath.Base(e.File.String())); ok {
			names = append(names, "chunk "+number)
		}
	}
	return names
}
