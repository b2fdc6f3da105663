package push

import (
	"context"
	"errors"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/registry/client"
)

// remote is what the push knows about a repository of the registry.
type remote struct {
	// empty means that the repository does not exist.
	empty bool
	// tags are the planned tags that exist, with their digests.
	tags map[string]digest.Digest
	// manifests are the planned manifests that exist.
	manifests map[digest.Digest]bool
	// blobs says for each requested blob whether it exists.
	blobs map[digest.Digest]bool
	// unlisted are manifests that exist, but are not listed as referrers.
	unlisted []*Manifest
	// subjectIgnored are manifests that were put, but whose subject the registry did not process.
	subjectIgnored []*Manifest
}

// findExisting requests each planned manifest by its tags, or by its digest if it has no tag.
// interrupted means that a repository may have blobs of an interrupted push, but no tag.
func (p *pusher) findExisting(ctx context.Context, interrupted bool) error {
	var tasks []*task
	for _, r := range p.Plan.Repositories {
		names := references(r)
		first := &task{run: func(ctx context.Context) error { return p.findFirst(ctx, r, names[0], interrupted) }}
		if len(tasks) > 0 {
			first.after(tasks[0]) // the result of the first task decides how findFirst starts
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

// findFirst requests the first manifest of a repository. If the manifest is missing, it requests
// the list of the repository's tags. While all repositories seem to be missing, as in a first push,
// it requests the list first, so that one request is enough. It does not do so for an untagged manifest
// or after an interrupted push: a registry may report a repository without tags as missing.
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

// The values of pusher.seen say whether any planned repository exists.
const (
	// seenNone means that the registry has not answered yet.
	seenNone = iota
	// seenNothing means that all requested repositories are missing.
	seenNothing
	// seenSomething means that at least one repository may exist.
	seenSomething
)

func (p *pusher) isEmpty(r *Repository) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.states[r].empty
}

// references returns the tags and digests with which the manifests of a repository are requested.
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

// findRepository marks a missing repository as empty, which saves requests for its content. It does
// nothing after an interrupted push, or once the registry has failed to list tags.
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
		return nil // even a repository without tags may have blobs of a deleted manifest
	case errors.Is(err, client.ErrNotFound):
		p.mu.Lock()
		p.states[r].empty = true
		p.mu.Unlock()
		return nil
	case client.IsInconclusive(err):
		p.noLists.Store(errors.Is(err, client.ErrServer))
		return nil // some users may push but not list tags, and some lists cannot be read
	}
	return withSide("list tags", r.Name, "", Diagnose(err))
}

// work is the content that has to be written.
type work struct {
	// manifests are those to put, because they are missing, or one of their tags is.
	manifests map[*Repository][]*Manifest
	// unlisted means that some manifests must be put again, so that they are listed as referrers.
	unlisted bool
	// blobs maps blobs to the repositories in which they may be missing.
	blobs map[*Blob][]*Repository
	// total is the size of these blobs in bytes. Each blob counts once.
	total int64
}

func (w *work) isEmpty() bool { return len(w.manifests) == 0 && len(w.blobs) == 0 && !w.unlisted }

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

// addBlobs adds the missing blobs of a manifest. If the manifest exists, addBlobs assumes that its
// blobs exist, unless they were requested and are missing.
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

// missingTags returns the tags of a manifest that do not exist or lead to a different manifest.
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

// countMounts returns how many mounts are possible after each blob was sent once.
func (w *work) countMounts() (n int) {
	for _, repositories := range w.blobs {
		n += len(repositories) - 1
	}
	return n
}
