package push

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/registry/client"
)

// ProofError reports that a registry accepted everything, but something is missing or
// different.
type ProofError struct{ Differences []Difference }

func (e *ProofError) Error() string {
	count := fmt.Sprintf("%d of the pushed tags, manifests and blobs are", len(e.Differences))
	if len(e.Differences) == 1 {
		count = "1 of the pushed tags, manifests and blobs is"
	}
	return count + " not in the registry as pushed, whatever it answered before; the first:  " + e.Differences[0].String()
}

// written is a blob, or a manifest under one of its names, that the registry acknowledged.
type written struct {
	repository *Repository
	blob       *Blob // nil for a manifest

	name   string // tag or digest
	digest digest.Digest
	size   int64
}

// recordWritten records something to prove.
func (p *Pusher) recordWritten(w written) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.written = append(p.written, w)
}

// prove requests everything that was written: each blob in each repository, each tag, and
// untagged manifests by digest. What existed before the push was already checked.
func (p *Pusher) prove(ctx context.Context) error {
	var mu sync.Mutex
	var differences []Difference
	var tasks []*task
	for _, w := range p.unproven() {
		tasks = append(tasks, &task{run: func(ctx context.Context) error {
			prove := p.proveManifest
			if w.blob != nil {
				prove = p.proveBlob
			}
			difference, err := prove(ctx, w)
			if difference != nil {
				mu.Lock()
				differences = append(differences, *difference)
				mu.Unlock()
			}
			return err
		}})
	}
	if err := perform(ctx, p.Jobs, tasks); err != nil {
		return err
	}
	if len(differences) > 0 {
		sortDifferences(differences)
		return &ProofError{differences}
	}
	return nil
}

// unproven returns what was written, without the digests of tagged manifests: the tags prove
// them.
func (p *Pusher) unproven() []written {
	type key struct {
		repository *Repository
		digest     digest.Digest
	}
	tagged := map[key]bool{}
	for _, w := range p.written {
		if w.blob == nil && w.name != w.digest.String() {
			tagged[key{w.repository, w.digest}] = true
		}
	}
	return slices.DeleteFunc(p.written, func(w written) bool {
		return w.blob == nil && w.name == w.digest.String() && tagged[key{w.repository, w.digest}]
	})
}

func (p *Pusher) proveManifest(ctx context.Context, w written) (*Difference, error) {
	var d specs.Descriptor
	err := p.settle(ctx, func() (wrong bool, err error) {
		d, err = headManifest(ctx, p.Client, w.repository.Name, w.name)
		return errors.Is(err, client.ErrNotFound) || err == nil && d.Digest != w.digest, err
	})
	difference := Difference{Kind: Missing, Repository: w.repository.Name, Reference: w.name, Digest: w.digest}
	switch {
	case errors.Is(err, client.ErrNotFound):
		return &difference, nil
	case err != nil:
		return nil, sided("head manifest", w.repository.Name, w.digest, Diagnose(err))
	case d.Digest != w.digest:
		difference.Kind, difference.Found = Different, d.Digest.String()
		return &difference, nil
	case d.Size != w.size:
		difference.Kind, difference.Found = WrongSize, insteadOf(d.Size, w.size)
		return &difference, nil
	}
	return nil, nil
}

func (p *Pusher) proveBlob(ctx context.Context, w written) (*Difference, error) {
	var n int64
	err := p.settle(ctx, func() (wrong bool, err error) {
		n, err = p.Client.HeadBlob(ctx, w.repository.Name, w.blob.Digest)
		return errors.Is(err, client.ErrNotFound), err
	})
	difference := Difference{Kind: Missing, Repository: w.repository.Name, Reference: w.blob.Digest.String(), Digest: w.blob.Digest, blob: true}
	switch {
	case errors.Is(err, client.ErrNotFound):
		return &difference, nil
	case err != nil:
		return nil, sided("head blob", w.repository.Name, w.blob.Digest, Diagnose(err))
	case n != w.blob.Size && n != client.UnknownSize:
		difference.Kind, difference.Found = WrongSize, insteadOf(n, w.blob.Size)
		return &difference, nil
	}
	return nil, nil
}

func insteadOf(found, wanted int64) string {
	return fmt.Sprintf("%d bytes instead of %d", found, wanted)
}

// settle retries with pauses while something that was written does not appear yet. Once all
// retries have failed for one of them, it asks only once for each of the others, as the registry
// has probably lost them, too.
func (p *Pusher) settle(ctx context.Context, ask func() (wrong bool, err error)) error {
	wrong := false
	err := p.Client.Settle(ctx, func() (bool, error) {
		var err error
		wrong, err = ask()
		return wrong && !p.lost.Load(), err
	})
	if wrong {
		p.lost.Store(true)
	}
	return err
}
