package push

import (
	"context"
	"errors"
	"slices"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/registry/client"
)

// check looks for content that a registry lost after it had stored the manifests: their blobs, and
// their entries in lists of referrers.
func (p *pusher) check(ctx context.Context) error {
	var tasks []*task
	for _, r := range p.Plan.Repositories {
		asked := map[digest.Digest]bool{}
		for _, m := range r.Manifests {
			if !p.states[r].manifests[m.Digest] {
				continue
			}
			for _, b := range m.Blobs {
				if !asked[b.Digest] {
					asked[b.Digest] = true
					tasks = append(tasks, &task{run: func(ctx context.Context) error { return p.checkBlob(ctx, r, b) }})
				}
			}
			if m.Refs.Subject != nil {
				tasks = append(tasks, &task{run: func(ctx context.Context) error { return p.checkReferrer(ctx, r, m) }})
			}
		}
	}
	return perform(ctx, p.Jobs, tasks)
}

func (p *pusher) checkBlob(ctx context.Context, r *Repository, b *Blob) error {
	there, err := p.hasBlob(ctx, r, b)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.states[r].blobs[b.Digest] = there
	if there {
		p.summary.Blobs.Present++
	}
	return nil
}

// checkReferrer records a manifest if the registry does not list it as a referrer of its subject.
func (p *pusher) checkReferrer(ctx context.Context, r *Repository, m *Manifest) error {
	found, err := p.Client.Referrers(ctx, r.Name, m.Refs.Subject.Digest)
	if err != nil && !errors.Is(err, client.ErrNotFound) {
		return withSide("list referrers", r.Name, m.Digest, Diagnose(err))
	}
	if found.Unknown != nil || slices.ContainsFunc(found.List, func(d specs.Descriptor) bool { return d.Digest == m.Digest }) {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.states[r].unlisted = append(p.states[r].unlisted, m)
	return nil
}

// relist puts each manifest again that the registry does not list as a referrer. The referrers API
// then lists them. In registries without this API, the referrers tag lists them.
func (p *pusher) relist(ctx context.Context) error {
	var tasks []*task
	for _, r := range p.Plan.Repositories {
		for _, m := range p.states[r].unlisted {
			tasks = append(tasks, &task{run: func(ctx context.Context) error {
				p.count(func(s *Summary) { s.Relisted++ })
				return p.putNamed(ctx, r, m, []string{m.Digest.String()})
			}})
		}
	}
	return perform(ctx, p.Jobs, tasks)
}
