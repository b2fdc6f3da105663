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
	empty     bool                     // the repository does not exist
	tags      map[string]digest.Digest // tags of the plan
	manifests map[digest.Digest]bool   // manifests of the plan
	blobs     map[digest.Digest]bool   // requested blobs, and whether it has them
	unlisted  []*Manifest              // that exist, but are not listed as referrers
	untold    []*Manifest              // that were put, but the registry did not process their subject
}

// look requests each manifest, by each of its tags or by its digest. before is set if an
// earlier push has begun, so that a repository may have blobs but no tag.
func (p *Pusher) look(ctx context.Context, before bool) error {
	var tasks []*task
	for _, r := range p.Plan.Repositories {
		names := references(r)
		first := &task{run: func(ctx context.Context) error { return p.lookFirst(ctx, r, names[0], before) }}
		if len(tasks) > 0 {
			first.after(tasks[0]) // its result tells what to expect of the others
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

// lookFirst requests the first manifest of a repository and, if it is missing, the repository.
// While all repositories are missing, as on a first push, it requests the repository first, so
// that one request is enough. A registry may report a repository as missing that has only
// untagged manifests.
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

// What is known so far about the repositories of the plan.
const (
	seenNone      = iota // no answer yet
	seenNothing          // all requested ones are missing
	seenSomething        // one exists, or this is unknown
)

func (p *Pusher) isEmpty(r *Repository) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.states[r].empty
}

// references returns the references by which the manifests of a repository are requested.
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

// ask requests one manifest of a repository.
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

// askRepository checks whether a repository exists, to save requests for its content.
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
		return nil // it may have blobs of a deleted manifest
	case errors.Is(err, client.ErrNotFound):
		p.mu.Lock()
		p.states[r].empty = true
		p.mu.Unlock()
		return nil
	case client.IsInconclusive(err):
		p.noLists.Store(errors.Is(err, client.ErrServer))
		return nil // a user who may push may not be allowed to list, and some lists cannot be read
	}
	return sided("list tags", r.Name, "", Diagnose(err))
}

// work is what has to be written.
type work struct {
	manifests map[*Repository][]*Manifest // that are missing, or have a missing tag
	unlisted  bool                        // some manifests have to be listed as referrers
	blobs     map[*Blob][]*Repository     // where it may be missing
	total     int64                       // bytes of the blobs, each once
}

func (w *work) empty() bool { return len(w.manifests) == 0 && len(w.blobs) == 0 && !w.unlisted }

// concerns reports whether anything will be written to a repository.
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

// findMissing compares the plan with the results of look.
func (p *Pusher) findMissing() *work {
	w := &work{manifests: map[*Repository][]*Manifest{}, blobs: map[*Blob][]*Repository{}}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.Plan.Repositories {
		state := p.states[r]
		w.unlisted = w.unlisted || len(state.unlisted) > 0
		for _, m := range r.Manifests {
			there := state.manifests[m.Digest]
			if there {
				p.addBlobs(w, r, m)
			}
			lacking := len(state.missingTags(m))
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

// addBlobs adds the missing blobs of an existing manifest. Blobs that were not requested count
// as present, because the manifest exists.
func (p *Pusher) addBlobs(w *work, r *Repository, m *Manifest) {
	for _, b := range m.Blobs {
		there, asked := p.states[r].blobs[b.Digest]
		if asked && !there {
			w.need(b, r)
			continue
		}
		p.homes[b.Digest] = r.Name
	}
}

// missingTags returns the tags of a manifest that do not lead to it.
func (s *remote) missingTags(m *Manifest) []string {
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

// mounts returns the number of blobs that can be mounted after they are sent.
func (w *work) mounts() (n int) {
	for _, repositories := range w.blobs {
		n += len(repositories) - 1
	}
	return n
}
