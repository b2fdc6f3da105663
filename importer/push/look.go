package push

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/registry/client"
)

// remote is what the registry has of a repository.
type remote struct {
	empty     bool                     // it is not there
	tags      map[string]digest.Digest // those of the plan
	manifests map[digest.Digest]bool   // those of the plan
	untold    []*Manifest              // that were put, and whose subject the registry did not take note of
}

// look asks for each manifest, by each of its tags or by its digest. before says that
// an earlier push has begun, so that a repository may have blobs without a tag.
func (p *Pusher) look(ctx context.Context, before bool) error {
	var tasks []*task
	for _, r := range p.Plan.Repositories {
		names := references(r)
		first := &task{run: func(ctx context.Context) error {
			there, err := p.ask(ctx, r, names[0])
			if err == nil && !there {
				err = p.askRepository(ctx, r, before)
			}
			return err
		}}
		tasks = append(tasks, first)
		for _, name := range names[1:] {
			t := &task{run: func(ctx context.Context) error {
				p.mu.Lock()
				empty := p.states[r].empty
				p.mu.Unlock()
				if empty {
					return nil
				}
				_, err := p.ask(ctx, r, name)
				return err
			}}
			t.after(first)
			tasks = append(tasks, t)
		}
	}
	return perform(ctx, p.Jobs, tasks)
}

// references are what the manifests of a repository are asked by.
func references(r *Repository) []string {
	var names []string
	for _, m := range r.Manifests {
		if len(m.Tags) == 0 {
			names = append(names, m.Digest.String())
		}
		names = append(names, m.Tags...)
	}
	return names
}

// ask asks for one manifest of a repository.
func (p *Pusher) ask(ctx context.Context, r *Repository, reference string) (bool, error) {
	d, err := p.Client.HeadManifest(ctx, r.Name, reference)
	if errors.Is(err, client.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, sided("head manifest", r.Name, "", diagnose(err))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	state := p.states[r]
	state.manifests[d.Digest] = true
	if digest.Digest(reference).Validate() != nil {
		state.tags[reference] = d.Digest
	}
	return true, nil
}

// askRepository finds out whether a repository is there at all, so that nobody asks
// for what it has.
func (p *Pusher) askRepository(ctx context.Context, r *Repository, before bool) error {
	if before || p.noLists.Load() {
		return nil
	}
	_, err := p.Client.Tags(ctx, r.Name)
	switch {
	case err == nil, errors.Is(err, client.ErrTooMany):
		return nil // it may have blobs of a manifest that is gone
	case errors.Is(err, client.ErrNotFound):
		p.mu.Lock()
		p.states[r].empty = true
		p.mu.Unlock()
		return nil
	case client.SaysNothing(err):
		p.noLists.Store(errors.Is(err, client.ErrServer))
		return nil // who may push need not be allowed to list, and not every list can be read
	}
	return sided("list tags", r.Name, "", diagnose(err))
}

// work is what has to be written.
type work struct {
	manifests map[*Repository][]*Manifest // that are missing, or lack a tag
	blobs     map[*Blob][]*Repository     // that may lack it
	total     int64                       // bytes of the blobs, each once
}

func (w *work) empty() bool { return len(w.manifests) == 0 }

// missing compares the plan with what look found.
func (p *Pusher) missing() *work {
	w := &work{manifests: map[*Repository][]*Manifest{}, blobs: map[*Blob][]*Repository{}}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.Plan.Repositories {
		state := p.states[r]
		for _, m := range r.Manifests {
			there := state.manifests[m.Digest]
			if there {
				for _, b := range m.Blobs {
					p.homes[b.Digest] = r.Name
				}
			}
			lacking := len(state.lacking(m))
			p.summary.Tags.Present += len(m.Tags) - lacking
			if there {
				p.summary.Manifests.Present++
			}
			if there && lacking == 0 {
				continue
			}
			w.manifests[r] = append(w.manifests[r], m)
			if there {
				continue
			}
			for _, b := range m.Blobs {
				w.need(b, r)
			}
		}
	}
	return w
}

// lacking are the tags of a manifest that do not lead to it.
func (s *remote) lacking(m *Manifest) []string {
	var tags []string
	for _, tag := range m.Tags {
		if s.tags[tag] != m.Digest {
			tags = append(tags, tag)
		}
	}
	return tags
}

func (w *work) need(b *Blob, r *Repository) {
	repositories := w.blobs[b]
	if len(repositories) == 0 {
		w.total += b.Size
	}
	for _, have := range repositories {
		if have == r {
			return
		}
	}
	w.blobs[b] = append(repositories, r)
}

// mounts is how many blobs could be mounted once they are sent.
func (w *work) mounts() (n int) {
	for _, repositories := range w.blobs {
		n += len(repositories) - 1
	}
	return n
}
