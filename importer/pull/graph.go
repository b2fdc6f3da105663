package pull

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// finish completes a layout: what belongs to its images, and all that they lead to. Where
// that is allowed, images that are not complete are left out.
func (p *planner) finish(ctx context.Context, l *planned) error {
	base := maps.Clone(l.images)
	for {
		broken, err := p.finishOnce(ctx, l)
		if err != nil || len(broken) == 0 {
			return err
		}
		p.drop(l, base, broken)
	}
}

// finishOnce completes a layout. The images that are not complete, and the reasons, are
// returned where they can be left out; else they are gaps.
func (p *planner) finishOnce(ctx context.Context, l *planned) (broken map[digest.Digest]string, err error) {
	if err := p.companions(ctx, l); err != nil {
		return nil, err
	}
	var tops []closure.Top
	byDigest := map[digest.Digest]int{}
	for _, key := range sortedKeys(l.images) {
		i := l.images[key]
		l.Images = append(l.Images, i)
		n, ok := byDigest[i.Digest]
		if !ok {
			n = len(tops)
			byDigest[i.Digest] = n
			tops = append(tops, closure.Top{Digest: i.Digest, MediaType: i.MediaType, Sizes: []int64{i.Size}})
		}
		if i.Tag != "" {
			tops[n].Tags = append(tops[n].Tags, i.Tag)
		}
	}
	graph, err := closure.Walk(ctx, tops, func(ctx context.Context, d digest.Digest) ([]byte, error, error) {
		body, err := p.src.body(ctx, l.Repository, d)
		if absent(err) {
			return nil, errors.New("not there"), nil
		}
		if errors.Is(err, client.ErrMismatch) {
			return nil, err, nil
		}
		return body, nil, err
	})
	if err != nil {
		return nil, err
	}
	return p.collect(ctx, l, graph)
}

// collect makes the blobs of a layout of its graph, and gaps of what is wrong in it, or
// where it is allowed, broken images. The error is that of asking the registry.
func (p *planner) collect(ctx context.Context, l *planned, graph *closure.Graph) (broken map[digest.Digest]string, err error) {
	broken = map[digest.Digest]string{}
	bad := func(d digest.Digest, tags []string, tops []*closure.Manifest, reason string) {
		if p.allow == nil || l.optional {
			g := Gap{Repository: l.Repository, Digest: d, Reason: reason}
			if len(tags) > 0 {
				g.Tag = tags[0]
			}
			p.gapOf(l, g)
			return
		}
		for _, top := range tops {
			broken[top.Digest] = cmp.Or(broken[top.Digest], because(top.Digest, d, reason))
		}
	}
	for _, m := range graph.Manifests {
		for _, fault := range m.Refs.Faults {
			bad(m.Digest, m.TagsTo(), m.Tops(), fault)
		}
		for _, t := range m.Contradicted {
			bad(m.Digest, m.TagsTo(), m.Tops(), fmt.Sprintf("a descriptor says %.100q, and it is %.100q", t, m.MediaType))
		}
		if m.Gap != nil {
			bad(m.Digest, m.TagsTo(), m.Tops(), m.Gap.Error())
			continue
		}
		l.Blobs = append(l.Blobs, m.Descriptor)
	}
	for _, b := range graph.Blobs {
		if b.Optional {
			there, err := p.distributed(ctx, l, b)
			if err != nil {
				return nil, err
			}
			if !there {
				continue
			}
		}
		for _, c := range b.Claims {
			if c.Size != b.Size() || c.Size < 0 {
				bad(b.Digest, b.TagsTo(), topsOf(b), fmt.Sprintf("two manifests say %d and %d bytes", b.Size(), c.Size))
				break
			}
		}
		if p.allow != nil && p.allow.lost[b.Digest] != "" {
			bad(b.Digest, b.TagsTo(), topsOf(b), p.allow.lost[b.Digest])
		}
		l.Blobs = append(l.Blobs, closure.Descriptor{Digest: b.Digest, Size: b.Size()})
	}
	l.Blobs = bundle.SortBlobs(l.Blobs)
	return broken, nil
}

// topsOf are the images that lead to a blob.
func topsOf(b *closure.Blob) (tops []*closure.Manifest) {
	for _, c := range b.Claims {
		if c.By != nil {
			tops = append(tops, c.By.Tops()...)
		}
	}
	return tops
}

// distributed says whether the registry has a layer that its media type lets it leave
// out. Where it does not, the layer is noted.
func (p *planner) distributed(ctx context.Context, l *planned, b *closure.Blob) (bool, error) {
	_, err := p.src.registry.HeadBlob(ctx, l.Repository, b.Digest)
	switch {
	case err == nil, errors.Is(err, client.ErrMismatch): // there, though the size is not said
		return true, nil
	case !absent(err):
		return false, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.components {
		if slices.Contains(c.Archives, l.archive) {
			c.note("%s: %s: left out: a non-distributable layer that the registry does not have", p.src.name(l.Repository, b.Digest.String()), strings.Join(b.TagsTo(), ", "))
			break
		}
	}
	return false, nil
}
