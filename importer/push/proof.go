package push

import (
	"context"
	"errors"
	"fmt"
	"sync"

	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/registry/client"
)

// GapError says that a registry took everything and has not everything.
type GapError struct{ Gaps []Difference }

func (e *GapError) Error() string {
	return fmt.Sprintf("%d of the pushed references do not lead where they should; the first is %s", len(e.Gaps), e.Gaps[0])
}

// prove asks once more for what was written: each tag, and manifests without one by
// their digest. What was there before was asked for already, and each blob was
// acknowledged by its digest.
func (p *Pusher) prove(ctx context.Context, w *work) error {
	var mu sync.Mutex
	var gaps []Difference
	var tasks []*task
	for _, r := range p.Plan.Repositories {
		for _, m := range w.manifests[r] {
			names := m.Tags
			if len(names) == 0 {
				names = []string{m.Digest.String()}
			}
			for _, name := range names {
				tasks = append(tasks, &task{run: func(ctx context.Context) error {
					gap, err := p.proveManifest(ctx, r, m, name)
					if gap != nil {
						mu.Lock()
						gaps = append(gaps, *gap)
						mu.Unlock()
					}
					return err
				}})
			}
		}
	}
	if err := perform(ctx, p.Jobs, tasks); err != nil {
		return err
	}
	if len(gaps) > 0 {
		return &GapError{gaps}
	}
	return nil
}

func (p *Pusher) proveManifest(ctx context.Context, r *Repository, m *Manifest, name string) (*Difference, error) {
	var d specs.Descriptor
	err := p.settle(ctx, func() (wrong bool, err error) {
		d, err = p.Client.HeadManifest(ctx, r.Name, name)
		return errors.Is(err, client.ErrNotFound) || err == nil && d.Digest != m.Digest, err
	})
	gap := Difference{Kind: Missing, Repository: r.Name, Reference: name, Digest: m.Digest}
	switch {
	case errors.Is(err, client.ErrNotFound):
		return &gap, nil
	case err != nil:
		return nil, sided("head manifest", r.Name, m.Digest, err)
	case d.Digest != m.Digest:
		gap.Kind, gap.Found = Different, d.Digest.String()
		return &gap, nil
	case d.Size != m.Size:
		gap.Kind, gap.Found = WrongSize, fmt.Sprintf("%d bytes in place of %d", d.Size, m.Size)
		return &gap, nil
	}
	return nil, nil
}

// settle asks again with pauses while something that was written is not to be seen yet.
// Once that was in vain for one, the others are asked once: the registry has lost them.
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
