package importer

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
)

// spare is a copy of a blob in an archive that an import would not read: a further copy, or a blob
// that nothing needs.
type spare struct {
	content *content // this copy only
	from    bundleCopy
	place   string // the digest and the place of the bytes
}

// spares finds all copies of all blobs in the layouts of the bundle, each place once: an archive
// that is kept packed serves each of them.
func (p *plan) spares(ctx context.Context) (all []spare, err error) {
	known := map[string]bool{}
	for _, r := range p.repositories {
		for _, l := range r.repo.Layouts() {
			digests, err := l.Blobs(ctx)
			if err != nil {
				return nil, err
			}
			for _, d := range digests {
				if !d.Algorithm().Available() {
					continue // if the blob is needed, planning has reported it
				}
				where, err := l.Locate(ctx, d)
				if err != nil {
					return nil, fmt.Errorf("%s of %s: %w", d, r.path, err)
				}
				place := d.String() + " " + placeOf(where)
				if known[place] {
					continue
				}
				known[place] = true
				c := &content{digest: d, size: where.Size(), owner: r}
				all = append(all, spare{c, bundleCopy{l, c.size}, place})
			}
		}
	}
	return all, nil
}

// placeOf returns text that identifies a place of bytes.
func placeOf(where extent.List) string {
	var text strings.Builder
	for _, e := range where {
		fmt.Fprintf(&text, "%d+%d %s\n", e.Off, e.Len, e.File)
	}
	return text.String()
}

// proveSpares proves the copies that staging did not read.
func (t *transfer) proveSpares(ctx context.Context) error {
	read := map[string]bool{}
	for _, c := range t.plan.contents {
		if !c.proven || c.from == (bundleCopy{}) {
			continue
		}
		if where, err := c.from.layout.Locate(ctx, c.digest); err == nil {
			read[c.digest.String()+" "+placeOf(where)] = true
		}
	}
	all, err := t.plan.spares(ctx)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(t.session.options.Jobs)
	for _, s := range all {
		if read[s.place] || ctx.Err() != nil {
			continue
		}
		group.Go(func() error { return t.proveSpare(ctx, s) })
	}
	return group.Wait()
}

func (t *transfer) proveSpare(ctx context.Context, s spare) error {
	_, err := t.copy(ctx, s.content, s.from, false)
	var bad *badError
	if errors.As(err, &bad) {
		return t.addBad(ctx, s.content, s.from, bad)
	}
	return err
}
