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
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// complete adds to a layout the signatures and other referrers of its images. It also adds
// everything that the images and referrers lead to. It skips incomplete images if that is allowed.
func (d *Draft) complete(ctx context.Context, l *Layout) error {
	base := maps.Clone(l.images)
	for {
		broken, err := d.completeOnce(ctx, l)
		if err != nil || len(broken) == 0 {
			return err
		}
		d.dropImages(l, base, broken)
	}
}

// completeOnce completes a layout. If incomplete images can be skipped, it returns them with the
// reasons. Otherwise, it records problems.
func (d *Draft) completeOnce(ctx context.Context, l *Layout) (broken map[digest.Digest]string, err error) {
	if err := d.addReferring(ctx, l); err != nil {
		return nil, err
	}
	for _, key := range sortedKeys(l.images) {
		l.planned.Images = append(l.planned.Images, l.images[key])
	}
	graph, err := closure.Walk(ctx, l.tops(), d.manifestOf(l))
	if err != nil {
		return nil, err
	}
	return d.collect(ctx, l, graph)
}

// tops returns the images of a layout as the starting points of a traversal.
func (l *Layout) tops() (tops []closure.Top) {
	byDigest := map[digest.Digest]int{}
	for _, key := range sortedKeys(l.images) {
		i := l.images[key]
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
	return tops
}

// manifestOf returns a function that reads the manifests of a layout for a traversal.
func (d *Draft) manifestOf(l *Layout) closure.Read {
	return func(ctx context.Context, wanted digest.Digest) (body []byte, gap, err error) {
		body, err = d.Source.Manifest(ctx, l.Repository, wanted)
		if IsAbsent(err) {
			return nil, errors.New(problem.Missing), nil
		}
		if errors.Is(err, client.ErrMismatch) {
			return nil, err, nil
		}
		return body, nil, err
	}
}

// collect adds the blobs of a graph to the layout. It records a problem for each fault in the
// graph. If the pull may continue without an image, collect adds the image to broken instead. Its
// errors come from requests to the registry.
func (d *Draft) collect(ctx context.Context, l *Layout, graph *closure.Graph) (broken map[digest.Digest]string, err error) {
	broken = map[digest.Digest]string{}
	bad := func(kind layoutstore.Kind, wrong digest.Digest, tags []string, tops []*closure.Manifest, reason string) {
		if d.allow == nil || l.rules.Optional {
			g := NewProblem(kind, l.Repository, wrong.String(), reason)
			g.Tags = tags
			d.AddLayoutProblem(l, g)
			return
		}
		for _, top := range tops {
			broken[top.Digest] = cmp.Or(broken[top.Digest], imageReason(top.Digest, wrong, reason))
		}
	}
	for _, m := range graph.Manifests {
		for _, fault := range m.Refs.Malformed {
			bad(layoutstore.Damaged, m.Digest, m.TagsTo(), m.Tops(), fault)
		}
		for _, t := range m.Contradicted {
			bad(layoutstore.Damaged, m.Digest, m.TagsTo(), m.Tops(), fmt.Sprintf("a descriptor states the type %.100q, but the manifest has the type %.100q", t, m.MediaType))
		}
		if m.Unavailable != nil {
			kind := layoutstore.Damaged
			if m.Unavailable.Error() == problem.Missing {
				kind = layoutstore.Incomplete
			}
			bad(kind, m.Digest, m.TagsTo(), m.Tops(), m.Unavailable.Error())
			continue
		}
		l.planned.Blobs = append(l.planned.Blobs, m.Descriptor)
	}
	for _, b := range graph.Blobs {
		if b.Optional {
			there, err := d.hasNonDistributable(ctx, l, b)
			if err != nil {
				return nil, err
			}
			if !there {
				continue
			}
		}
		for _, c := range b.Claims {
			if c.Size != b.Size() || c.Size < 0 {
				bad(layoutstore.Damaged, b.Digest, b.TagsTo(), topsOf(b), fmt.Sprintf("two manifests state different sizes, %d and %d bytes", b.Size(), c.Size))
				break
			}
		}
		if why := d.Source.lost[b.Digest]; why != "" {
			bad(layoutstore.Incomplete, b.Digest, b.TagsTo(), topsOf(b), why)
		}
		l.planned.Blobs = append(l.planned.Blobs, closure.Descriptor{Digest: b.Digest, Size: b.Size()})
	}
	l.planned.Blobs = bundle.SortBlobs(l.planned.Blobs)
	return broken, nil
}

func topsOf(b *closure.Blob) (tops []*closure.Manifest) {
	for _, c := range b.Claims {
		if c.By != nil {
			tops = append(tops, c.By.Tops()...)
		}
	}
	return tops
}

// hasNonDistributable reports whether the registry has a layer whose media type allows it to be
// missing. If the layer is missing, it adds a note to the component.
func (d *Draft) hasNonDistributable(ctx context.Context, l *Layout, b *closure.Blob) (bool, error) {
	_, err := d.Source.registry.HeadBlob(ctx, l.Repository, b.Digest)
	switch {
	case err == nil, errors.Is(err, client.ErrMismatch): // with ErrMismatch, the layer exists, but its size is unknown
		return true, nil
	case !IsAbsent(err):
		return false, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.components {
		if slices.Contains(c.Archives, l.archive) {
			c.Note("%s: %s: left out: a non-distributable layer that is missing from the registry", d.Source.Name(l.Repository, b.Digest.String()), strings.Join(b.TagsTo(), ", "))
			break
		}
	}
	return false, nil
}
