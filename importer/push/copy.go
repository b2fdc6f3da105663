package push

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/registry/client"
)

// copy writes missing content in three steps: first blobs and untagged manifests, then tagged
// manifests, then discovery tags. So no tag ever leads to incomplete content.
func (p *pusher) copy(ctx context.Context, w *work) error {
	p.Progress.Expect(w.total)
	if err := perform(ctx, p.Jobs, p.contentTasks(w)); err != nil {
		return err
	}
	mounted := 0
	p.count(func(s *Summary) { mounted = s.Blobs.Mounted })
	if w.countMounts() > 0 && mounted == 0 {
		p.notify("the registry mounts no blobs across repositories: each blob was sent to each repository")
	}
	for _, discovery := range []bool{false, true} {
		var tasks []*task
		for _, r := range p.Plan.Repositories {
			tasks = append(tasks, p.manifestTasks(r, w.manifests[r], nil, p.putManifest, func(m *Manifest) bool {
				return len(m.Tags) > 0 && m.Discovery == discovery
			})...)
		}
		if err := perform(ctx, p.Jobs, tasks); err != nil {
			return err
		}
	}
	if err := p.relist(ctx); err != nil {
		return err
	}
	return p.referrersTags(ctx)
}

// contentTasks returns the tasks that send blobs and untagged manifests. Blobs come first, in
// descending order of their size.
func (p *pusher) contentTasks(w *work) []*task {
	var tasks []*task
	blobs := map[place]*task{}
	for _, b := range p.Plan.Blobs {
		var first *task
		for _, r := range w.blobs[b] {
			t := &task{run: func(ctx context.Context) error { return p.sendBlob(ctx, b, r) }}
			t.after(first) // the first task uploads the blob, this one mounts it
			if first == nil {
				first = t
			}
			blobs[place{r, b.Digest}] = t
			tasks = append(tasks, t)
		}
	}
	for _, r := range p.Plan.Repositories {
		needed := neededUntagged(w.manifests[r])
		tasks = append(tasks, p.manifestTasks(r, w.manifests[r], blobs, p.putByDigest, func(m *Manifest) bool { return needed[m.Digest] })...)
	}
	return tasks
}

// neededUntagged returns the untagged manifests and all manifests that they lead to. An untagged
// index may contain a tagged image, and registries accept an index only after its children.
func neededUntagged(manifests []*Manifest) map[digest.Digest]bool {
	needed := map[digest.Digest]bool{}
	for _, m := range slices.Backward(manifests) { // the list has children before their parents
		if len(m.Tags) == 0 {
			needed[m.Digest] = true
		}
		if needed[m.Digest] {
			for _, child := range m.Refs.Children {
				needed[child.Digest] = true
			}
		}
	}
	return needed
}

// place is the place of a blob or manifest in a repository.
type place struct {
	repository *Repository
	digest     digest.Digest
}

// manifestTasks returns the tasks that put the wanted manifests. Each task waits for the content of
// its manifest.
func (p *pusher) manifestTasks(r *Repository, manifests []*Manifest, blobs map[place]*task, put func(context.Context, *Repository, *Manifest) error, wanted func(*Manifest) bool) []*task {
	var tasks []*task
	byDigest := map[digest.Digest]*task{}
	for _, m := range manifests {
		if !wanted(m) {
			continue
		}
		t := &task{run: func(ctx context.Context) error { return put(ctx, r, m) }}
		for _, b := range m.Blobs {
			t.after(blobs[place{r, b.Digest}])
		}
		for _, child := range m.Refs.Children {
			t.after(byDigest[child.Digest])
		}
		if m.Refs.Subject != nil {
			t.after(byDigest[m.Refs.Subject.Digest])
		}
		byDigest[m.Digest] = t
		tasks = append(tasks, t)
	}
	return tasks
}

// sendBlob uploads or mounts a blob, unless the repository already has it.
func (p *pusher) sendBlob(ctx context.Context, b *Blob, r *Repository) error {
	p.mu.Lock()
	home := p.homes[b.Digest]
	there, asked := p.states[r].blobs[b.Digest]
	asked = asked || p.states[r].empty
	p.mu.Unlock()
	if !asked {
		var err error
		if there, err = p.hasBlob(ctx, r, b); err != nil {
			return err
		}
	}
	if there {
		p.recordBlob(b, r, func(s *Summary) { s.Blobs.Present++ })
		return nil
	}
	return p.upload(ctx, b, r, home)
}

func (p *pusher) hasBlob(ctx context.Context, r *Repository, b *Blob) (bool, error) {
	n, err := p.Client.HeadBlob(ctx, r.Name, b.Digest)
	if errors.Is(err, client.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, withSide("head blob", r.Name, b.Digest, Diagnose(err))
	}
	return n == b.Size || n == client.UnknownSize, nil
}

func (p *pusher) recordBlob(b *Blob, r *Repository, change func(*Summary)) {
	p.mu.Lock()
	p.homes[b.Digest] = r.Name
	change(&p.summary)
	p.mu.Unlock()
	// If no transfer of the blob was reported, report its bytes now.
	p.progress(b).Begin("", b.Size).End(true)
}

// progress returns the receiver for the progress of a blob. Only the first transfer of a blob is
// reported, because [Progress.Expect] counts the blob's bytes once.
func (p *pusher) progress(b *Blob) Progress {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.reported[b] {
		return silent{}
	}
	p.reported[b] = true
	return p.Progress
}

func (p *pusher) upload(ctx context.Context, b *Blob, r *Repository, home string) error {
	if home == r.Name {
		home = ""
	}
	began := time.Now()
	shown := strings.TrimPrefix(r.Name, p.Plan.Destination.Path+"/")
	transfer := &lazyTransfer{begin: func() Transfer { return p.progress(b).Begin(shown, b.Size) }}
	how, err := p.Client.Upload(ctx, client.Upload{
		Repository: r.Name, Digest: b.Digest, Size: b.Size, From: home,
		Open:     func() (io.ReadSeekCloser, error) { return b.open(ctx) },
		Sessions: p.State.file(p.Client.Registry(), r.Name, b.Digest.String()), Progress: transfer.at,
	})
	transfer.end(err == nil)
	if err != nil {
		return withSide("upload blob", r.Name, b.Digest, Diagnose(err))
	}
	p.recordWritten(written{repository: r, blob: b})
	p.recordBlob(b, r, func(s *Summary) {
		if how == client.Mounted {
			s.Blobs.Mounted++
			return
		}
		s.Blobs.Pushed++
		s.updateSlowest(r.Name, b, time.Since(began))
	})
	return nil
}

// lazyTransfer reports a transfer only once bytes are sent. A mount sends none.
type lazyTransfer struct {
	begin func() Transfer

	mu       sync.Mutex
	transfer Transfer
	ended    bool
}

func (l *lazyTransfer) at(pos int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return // net/http may read the body of a failed request for a moment after the request has ended
	}
	if l.transfer == nil {
		l.transfer = l.begin()
	}
	l.transfer.At(pos)
}

func (l *lazyTransfer) end(done bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	if l.transfer != nil {
		l.transfer.End(done)
	}
}

func (p *pusher) putManifest(ctx context.Context, r *Repository, m *Manifest) error {
	p.mu.Lock()
	names := p.states[r].missingTags(m)
	p.mu.Unlock()
	return p.putNamed(ctx, r, m, names)
}

// putByDigest puts a missing manifest by its digest, without tags.
func (p *pusher) putByDigest(ctx context.Context, r *Repository, m *Manifest) error {
	p.mu.Lock()
	there := p.states[r].manifests[m.Digest]
	p.mu.Unlock()
	if there {
		return nil
	}
	return p.putNamed(ctx, r, m, []string{m.Digest.String()})
}

// putNamed puts a manifest under several names. Each name is a tag or the digest.
func (p *pusher) putNamed(ctx context.Context, r *Repository, m *Manifest, names []string) error {
	body, err := m.from.ManifestBytes(ctx, m.Digest)
	if err != nil {
		return &Error{"put manifest", SideTree, r.Name, m.Digest, err}
	}
	p.mu.Lock()
	there := p.states[r].manifests[m.Digest]
	p.mu.Unlock()
	for _, name := range names {
		subject, err := p.Client.PutManifest(ctx, r.Name, name, client.Manifest{MediaType: m.MediaType, Digest: m.Digest, Body: body})
		if err != nil {
			return withSide("put manifest", r.Name, m.Digest, Diagnose(err))
		}
		p.recordWritten(written{repository: r, name: name, digest: m.Digest, size: m.Size})
		p.recordPut(r, m, name, subject, !there)
		there = true
	}
	return nil
}

func (p *pusher) recordPut(r *Repository, m *Manifest, name string, subject digest.Digest, pushed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	state := p.states[r]
	if pushed {
		p.summary.Manifests.Pushed++
	}
	if name != m.Digest.String() {
		if state.tags[name] != "" {
			p.summary.Tags.Replaced++
		}
		p.summary.Tags.Pushed++
		state.tags[name] = m.Digest
	}
	state.manifests[m.Digest] = true
	if m.Refs.Subject != nil && subject == "" && !slices.Contains(state.subjectIgnored, m) {
		state.subjectIgnored = append(state.subjectIgnored, m)
	}
}
