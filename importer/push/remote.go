package push

import (
	"context"
	"errors"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/registry/client"
)

// remote is what the registry has of a repository.
type remote struct {
	empty     bool                     // it is not there
	tags      map[string]digest.Digest // those of the plan
	manifests map[digest.Digest]bool   // those of the plan
	blobs     map[digest.Digest]bool   // those that it was asked for, and whether it has them
	unlisted  []*Manifest              // that are there, and are not listed with their subject
	untold    []*Manifest              // that were put, and whose subject the registry did not take note of
}

// look asks for each manifest, by each of its tags or by its digest. before says that
// an earlier push has begun, so that a repository may have blobs without a tag.
func (p *Pusher) look(ctx context.Context, before bool) error {
	var tasks []*task
	for _, r := range p.Plan.Repositories {
		names := references(r)
		first := &task{run: func(ctx context.Context) error { return p.lookFirst(ctx, r, names[0], before) }}
		if len(tasks) > 0 {
			first.after(tasks[0]) // which says what to expect of the others
		}
		tasks = append(tasks, first)
		for _, name := range names[1:] {
			t := &task{run: func(ctx context.Context) error {
				if p.isEmpty(r) {
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

// lookFirst asks for the first manifest of a repository, and where it is not there for the
// repository. While all repositories are new to the registry, which a first push finds, it
// is the repository that is asked for first: then one request is enough. Where it has only
// manifests without a tag, a registry may say that it is not there.
func (p *Pusher) lookFirst(ctx context.Context, r *Repository, reference string, before bool) error {
	tag := digest.Digest(reference).Validate() != nil
	if p.seen.Load() == seenNothing && tag && !before {
		if err := p.askRepository(ctx, r, before); err != nil || p.isEmpty(r) {
			return err
		}
		_, err := p.ask(ctx, r, reference)
		return err
	}
	there, err := p.ask(ctx, r, reference)
	if err == nil && !there {
		err = p.askRepository(ctx, r, before)
	}
	return err
}

// What the first looks have seen of the repositories of the plan so far.
const (
	seenNone      = iota // no answer yet
	seenNothing          // none of them is there
	seenSomething        // one is, or cannot be told
)

func (p *Pusher) isEmpty(r *Repository) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.states[r].empty
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
	d, err := headManifest(ctx, p.Client, r.Name, reference)
	if errors.Is(err, client.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, sided("head manifest", r.Name, "", Diagnose(err))
	}
	p.seen.Store(seenSomething)
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
	if errors.Is(err, client.ErrNotFound) {
		p.seen.CompareAndSwap(seenNone, seenNothing)
	} else {
		p.seen.Store(seenSomething)
	}
	switch {
	case err == nil, errors.Is(err, client.ErrTooMany):
		return nil // it may have blobs of a manifest that is gone
	case errors.Is(err, client.ErrNotFound):
		p.mu.Lock()
		p.states[r].empty = true
		p.mu.Unlock()
		return nil
	case client.IsInconclusive(err):
		p.noLists.Store(errors.Is(err, client.ErrServer))
		return nil // who may push need not be allowed to list, and not every list can be read
	}
	return sided("list tags", r.Name, "", Diagnose(err))
}

// work is what has to be written.
type work struct {
	manifests map[*Repository][]*Manifest // that are missing, or lack a tag
	unlisted  bool                        // some manifests have to be listed with their subjects
	blobs     map[*Blob][]*Repository     // that may lack it
	total     int64                       // bytes of the blobs, each once
}

func (w *work) empty() bool { return len(w.manifests) == 0 && len(w.blobs) == 0 && !w.unlisted }

// concerns reports whether something is to be written to a repository.
func (w *work) concerns(r *Repository) bool {
	if len(w.manifests[r]) > 0 {
		return true
	}
	for _, repositories := range w.blobs {
		if slices.Contains(repositories, r) {
			return true
		}
	}
	return false
}

// missing compares the plan with what look found.
func (p *Pusher) missing() *work {
	w := &work{manifests: map[*Repository][]*Manifest{}, blobs: map[*Blob][]*Repository{}}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.Plan.Repositories {
		state := p.states[r]
		w.unlisted = w.unlisted || len(state.unlisted) > 0
		for _, m := range r.Manifests {
			there := state.manifests[m.Digest]
			if there {
				p.settled(w, r, m)
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

// settled notes what a manifest that is there says of its blobs: the repository has
// those that it was not asked for. Of the others it has to get those that it lacks.
func (p *Pusher) settled(w *work, r *Repository, m *Manifest) {
	for _, b := range m.Blobs {
		there, asked := p.states[r].blobs[b.Digest]
		if asked && !there {
			w.need(b, r)
			continue
		}
		p.homes[b.Digest] = r.Name
	}
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
	if slices.Contains(repositories, r) {
		return
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
