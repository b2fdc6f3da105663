package push

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/dustin/go-humanize/english"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/registry/client"
)

// ProofError reports that some content is missing or different in the registry, although the
// registry acknowledged all of it.
type ProofError struct{ Differences []Difference }

func (e *ProofError) Error() string {
	n := len(e.Differences)
	return fmt.Sprintf("%d of the pushed tags, manifests and blobs %s missing or different in the registry, although it acknowledged them; the first: %s",
		n, english.PluralWord(n, "is", "are"), e.Differences[0])
}

// written is content that the registry acknowledged: a blob, or a manifest under one of its names.
type written struct {
	repository *Repository
	blob       *Blob // nil if this is a manifest

	name   string // tag or digest under which the manifest was put
	digest digest.Digest
	size   int64
}

func (p *pusher) recordWritten(w written) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.written = append(p.written, w)
}

// prove requests everything that was written: each blob in each repository, each tag, and each
// untagged manifest. It does not request content that existed before the push.
func (p *pusher) prove(ctx context.Context) error {
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

// unproven returns what must be proven. It omits the digests of tagged manifests, because their
// tags prove them.
func (p *pusher) unproven() []written {
	tagged := map[place]bool{}
	for _, w := range p.written {
		if w.blob == nil && w.name != w.digest.String() {
			tagged[place{w.repository, w.digest}] = true
		}
	}
	return slices.DeleteFunc(p.written, func(w written) bool {
		return w.blob == nil && w.name == w.digest.String() && tagged[place{w.repository, w.digest}]
	})
}

func (p *pusher) proveManifest(ctx context.Context, w written) (*Difference, error) {
	var d specs.Descriptor
	err := p.settle(ctx, func() (wrong bool, err error) {
		d, err = headManifest(ctx, p.Client, w.repository.Name, w.name)
		return errors.Is(err, client.ErrNotFound) || err == nil && d.Digest != w.digest, err
	})
	return manifestDifference(w.repository, w.name, w.digest, w.size, d, err)
}

func (p *pusher) proveBlob(ctx context.Context, w written) (*Difference, error) {
	var n int64
	err := p.settle(ctx, func() (wrong bool, err error) {
		n, err = p.Client.HeadBlob(ctx, w.repository.Name, w.blob.Digest)
		return errors.Is(err, client.ErrNotFound), err
	})
	return blobDifference(w.repository, w.blob, n, err)
}

// settle repeats a request with pauses until the written content appears. Once all retries have
// failed for one blob or manifest, settle requests each further one only once, because the registry
// has probably lost it, too.
func (p *pusher) settle(ctx context.Context, ask func() (wrong bool, err error)) error {
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
