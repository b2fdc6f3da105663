package daemon

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/source"
	"github.com/layoutproxy/layoutproxy/importer/drop"
	"github.com/layoutproxy/layoutproxy/importer/push"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// Pauses before a push is retried.
const (
	firstPushPause = 10 * time.Second
	lastPushPause  = 10 * time.Minute
)

// follower pushes a store to a registry whenever the store has changed. Serving never waits for it.
type follower struct {
	log      *zap.Logger
	store    string
	cacheDir string
	to       client.Reference
	client   *client.Client
	jobs     int
	key      *inventory.VerifyKey
	changed  trigger // there is something to push

	mu      sync.Mutex
	status  drop.Status
	unsplit bool // --no-edition-split
}

// newFollower returns the follower of a server's store, or nil if no flag asks for it.
func newFollower(log *zap.Logger, flags *settings.Serve) (*follower, error) {
	p := &flags.Store
	if p.PushTo == "" {
		return nil, nil
	}
	to, err := settings.ParseUpstream(p.PushTo)
	if err != nil {
		return nil, err
	}
	log = log.Named("push")
	upstream, err := p.Upstream.Open(to, true, os.Stdin, log)
	if err != nil {
		return nil, err
	}
	f := &follower{log: log, store: flags.Store.Dir, cacheDir: flags.CacheDir, to: to, unsplit: flags.NoEditionSplit, client: upstream, jobs: p.Upstream.Jobs, key: flags.VerifyKey, changed: make(trigger, 1)}
	f.status.Name = p.PushTo
	f.push() // what an earlier process may not have pushed
	return f, nil
}

// push asks for a push, and returns at once.
func (f *follower) push() {
	if f != nil {
		f.changed.set()
	}
}

// setEditionSplit applies a changed configuration. If that changes where repositories are pushed,
// it asks for a push.
func (f *follower) setEditionSplit(unsplit bool) {
	if f == nil {
		return
	}
	f.mu.Lock()
	changed := f.unsplit != unsplit
	f.unsplit = unsplit
	f.mu.Unlock()
	if changed {
		f.push()
	}
}

// run pushes until ctx ends.
func (f *follower) run(ctx context.Context) error {
	if f == nil {
		return nil
	}
	defer f.client.Close()
	var again <-chan time.Time
	for pause := time.Duration(0); ; {
		select {
		case <-f.changed:
		case <-again:
		case <-ctx.Done():
			return nil
		}
		f.setState("pushing", "")
		err := f.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if again = nil; err == nil {
			pause = 0
			f.setState("pushed", "")
			continue
		}
		pause = min(max(firstPushPause, 2*pause), lastPushPause)
		again = time.After(pause)
		detail := exit.OneLine(exit.PushError(err))
		f.log.Warn("the push failed, and will be retried", zap.String("to", f.status.Name), zap.Duration("pause", pause), zap.String("error", detail))
		f.setState("failed", detail)
	}
}

// once pushes everything that the upstream registry does not have yet. If the store has
// problems, it pushes the intact part, and still returns an error.
func (f *follower) once(ctx context.Context) error {
	f.mu.Lock()
	selection := push.Selection{NoEditionSplit: f.unsplit}
	f.mu.Unlock()
	_, plan, err := source.PlanPush(ctx, &settings.Selection{Repositories: selection, VerifyKey: f.key}, settings.Tree{CacheDir: f.cacheDir}, []string{f.store}, f.to)
	if err != nil {
		return err
	}
	failures := plan.Failures(selection)
	if len(plan.Repositories) == 0 && len(failures) == 0 {
		return nil
	}
	state, err := push.OpenState(settings.StateDir())
	if err != nil {
		return err
	}
	_, err = push.Run(ctx, push.Options{Plan: plan, Client: f.client, State: state, Jobs: f.jobs, Progress: f, Notice: func(s string) { f.log.Info(s) }})
	if err != nil {
		return err
	}
	if len(failures) > 0 {
		return fmt.Errorf("the store is damaged or incomplete in %d places, and the rest is pushed: %s", len(failures), failures[0])
	}
	f.log.Info("pushed", zap.String("to", f.status.Name))
	return nil
}

func (f *follower) setState(state, detail string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.State, f.status.Detail, f.status.Since = state, detail, time.Now()
	f.status.Bytes, f.status.Total = 0, 0
}

// pushes returns the push for /status, as a list of one; before the first push the list is empty.
func (f *follower) pushes() []drop.Status {
	if f == nil {
		return []drop.Status{}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.status.State == "" {
		return []drop.Status{}
	}
	s := f.status
	if spent := time.Since(s.Since); s.State == "pushing" && spent > 0 {
		s.Rate = int64(float64(s.Bytes) / spent.Seconds())
	}
	return []drop.Status{s}
}

// Expect implements push.Progress.
func (f *follower) Expect(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.Total = bytes
}

// Begin implements push.Progress.
func (f *follower) Begin(_ string, size int64) push.Transfer { return &pushedBlob{f: f, size: size} }

// pushedBlob counts the bytes of one blob that is being pushed.
type pushedBlob struct {
	f         *follower
	size, pos int64
}

// At implements push.Transfer.
func (b *pushedBlob) At(pos int64) {
	b.f.mu.Lock()
	defer b.f.mu.Unlock()
	b.f.status.Bytes += pos - b.pos
	b.pos = pos
}

// End implements push.Transfer.
func (b *pushedBlob) End(done bool) {
	if done {
		b.At(b.size)
		return
	}
	b.At(0)
}
