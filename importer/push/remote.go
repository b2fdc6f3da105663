package push

import (
	"context"
	"errors"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/registry/client"
)

// remote is the state of a repository in the registry.
type remote struct {
	empty     bool                     // the repository does not exist
	tags      map[string]digest.Digest // existing tags of the plan
	manifests map[digest.Digest]bool   // existing manifests of the plan
	blobs     map[digest.Digest]bool   // requested blobs, and whether they exist
	unlisted  []*Manifest              // that exist, but are not listed as referrers
	// subjectIgnored are manifests that were put, but whose subject the registry did not process.
	subjectIgnored []*Manifest
}

// findExisting requests each manifest, by each of its tags or by its digest. interrupted is set
// after an interrupted push: a repository may have blobs without a tag.
func (p *pusher) findExisting(ctx context.Context, interrupted bool) error {
	var tasks []*task
	for _, r := range p.Plan.Repositories {
		names := references(r)
		first := &task{run: func(ctx context.Context) error { return p.findFirst(ctx, r, names[0], interrupted) }}
		if len(tasks) > 0 {
			first.after(tasks[0]) // whose result decides how findFirst begins
		}
		tasks = append(tasks, first)
		for _, name := range names[1:] {
			t := &task{run: func(ctx context.Context) error {
				if p.isEmpty(r) {
					return nil
				}
				_, err := p.findManifest(ctx, r, name)
				return err
			}}
			t.after(first)
			tasks = append(tasks, t)
		}
	}
	return perform(ctx, p.Jobs, tasks)
}

// findFirst requests the first manifest of a repository and, if it is missing, the list of the
// repository's tags. As long as all repositories are missing, as on a first push, it requests the
// list first, so that one request is enough. A registry may report a repository as missing if it
// has only untagged manifests.
func (p *pusher) findFirst(ctx context.Context, r *Repository, reference string, interrupted bool) error {
	tag := digest.Digest(reference).Validate() != nil
	if p.seen.Load() == seenNothing && tag && !interrupted {
		if err := p.findRepository(ctx, r, interrupted); err != nil || p.isEmpty(r) {
			return err
		}
		_, err := p.findManifest(ctx, r, reference)
		return err
	}
	there, err := p.findManifest(ctx, r, reference)
	if err == nil && !there {
		err = p.findRepository(ctx, r, interrupted)
	}
	return err
}

// Values of pusher.seen: which of the plan's repositories the registry has, as far as is known.
const (
	seenNone      = iota // no answer yet
	seenNothing          // all requested repositories are missing
	seenSomething        // at least one may exist
)

func (p *pusher) isEmpty(r *Repository) bool {
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

// findManifest requests one manifest of a repository, and reports whether it exists.
func (p *pusher) findManifest(ctx context.Context, r *Repository, reference string) (bool, error) {
	d, err := headManifest(ctx, p.Client, r.Name, reference)
	if errors.Is(err, client.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, withSide("head manifest", r.Name, "", Diagnose(err))
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

// findRepository checks whether a repository exists, to save requests for its content.
func (p *pusher) findRepository(ctx context.Context, r *Repository, interrupted bool) error {
	if interrupted || p.noLists.Load() {
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
		return nil // even without tags, it may have blobs of a deleted manifest
	case errors.Is(err, client.ErrNotFound):
		p.mu.Lock()
		p.states[r].empty = true
		p.mu.Unlock()
		return nil
	case client.IsInconclusive(err):
		p.noLists.Store(errors.Is(err, client.ErrServer))
		return nil // a user may have the right to push without the right to list, and some lists cannot be read
	}
	return withSide("list tags", r.Name, "", Diagnose(err))
}

// work is the content that has to be written.
type work struct {
	manifests map[*Repository][]*Manifest // that are missing, or have a missing tag
	unlisted  bool                        // some manifests have to be listed as referrers
	blobs     map[*Blob][]*Repository     // where the blob may be missing
	total     int64                       // bytes of the blobs, each once
}

func (w *work) isEmpty() bool { return len(w.manifests) == 0 && len(w.blobs) == 0 && !w.unlisted }

// includes reports whether manifests or blobs will be written to a repository.
func (w *work) includes(r *Repository) bool {
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

// findMissing compares the plan with the content that the registry has.
func (p *pusher) findMissing() *work {
	w := &work{manifests: map[*Repository][]*Manifest{}, blobs: map[*Blob][]*Repository{}}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.Plan.Repositories {
		state := p.states[r]
		w.unlisted = w.unlisted || len(state.unlisted) > 0
		for _, m := range r.Manifests {
			exists, missingTags := state.manifests[m.Digest], len(state.missingTags(m))
			p.summary.Tags.Present += len(m.Tags) - missingTags
			if exists {
				p.summary.Manifests.Present++
			}
			if !exists || missingTags > 0 {
				w.manifests[r] = append(w.manifests[r], m)
			}
			p.addBlobs(w, r, m, exists)
		}
	}
	return w
}

// addBlobs adds the missing blobs of a manifest. If the manifest exists, so do its blobs, except
// those that were requested and are missing.
func (p *pusher) addBlobs(w *work, r *Repository, m *Manifest, exists bool) {
	for _, b := range m.Blobs {
		there, asked := p.states[r].blobs[b.Digest]
		if exists && (there || !asked) {
			p.homes[b.Digest] = r.Name
			continue
		}
		w.addBlob(b, r)
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

func (w *work) addBlob(b *Blob, r *Repository) {
	if len(w.blobs[b]) == 0 {
		w.total += b.Size
	}
	if !slices.Contains(w.blobs[b], r) {
		w.blobs[b] = append(w.blobs[b], r)
	}
}

// countMounts returns the number of mounts that are possible after each blob is sent once.
func (w *work) countMounts() (n int) {
	for _, repositories := range w.blobs {
		n += len(repositories) - 1
	}
	return n
}
