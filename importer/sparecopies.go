package importer

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// proveSpares proves the copies of blobs that staging did not read, in all layouts of the bundle.
// An archive that is kept packed serves all of its blobs, even further copies and blobs that
// nothing needs. Each place is read once.
func (t *transfer) proveSpares(ctx context.Context) error {
	read := map[string]bool{} // copies that were read, by digest and place: see placeOf
	for _, c := range t.plan.contents {
		if !c.proven || c.from == (bundleCopy{}) {
			continue
		}
		if where, err := c.from.layout.Locate(ctx, c.digest); err == nil {
			read[placeOf(c.digest, where)] = true
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(t.session.options.Jobs)
	err := t.plan.eachCopy(ctx, func(c *content, from bundleCopy, where extent.List) {
		if place := placeOf(c.digest, where); !read[place] && ctx.Err() == nil {
			read[place] = true
			group.Go(func() error { return t.proveSpare(ctx, c, from) })
		}
	})
	if failed := group.Wait(); failed != nil {
		return failed
	}
	return err
}

// eachCopy calls do for each copy of each blob in the layouts of the bundle. The content that it
// passes describes only this copy.
func (p *plan) eachCopy(ctx context.Context, do func(*content, bundleCopy, extent.List)) error {
	for _, r := range p.repositories {
		for _, l := range r.repo.Layouts() {
			digests, err := l.Blobs(ctx)
			if err != nil {
				return err
			}
			for _, d := range digests {
				if !d.Algorithm().Available() {
					continue // planning has reported the unsupported algorithm if an image needs the blob
				}
				where, err := l.Locate(ctx, d)
				if err != nil {
					return fmt.Errorf("blob %s of %s: %w", d, r.path, err)
				}
				do(&content{digest: d, size: where.Size(), owner: r}, bundleCopy{l, where.Size()}, where)
			}
		}
	}
	return nil
}

// placeOf returns a text that identifies a blob and the place of its bytes.
func placeOf(d digest.Digest, where extent.List) string {
	text := d.String()
	for _, e := range where {
		text += fmt.Sprintf(" %d+%d %s\n", e.Off, e.Len, e.File)
	}
	return text
}

func (t *transfer) proveSpare(ctx context.Context, c *content, from bundleCopy) error {
	_, err := t.copy(ctx, c, from, false)
	return t.addBad(ctx, c, from, err)
}
