package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/source"
	"github.com/layoutproxy/layoutproxy/importer/drop"
	"github.com/layoutproxy/layoutproxy/importer/push"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// The pause before a retry of a push doubles with each failure, from firstPushPause to
// lastPushPause.
const (
	firstPushPause = 10 * time.Second
	lastPushPause  = 10 * time.Minute
)

// follower pushes a store to a registry after each change of the store (--push-to). Requests of
// clients never wait for it.
type follower struct {
	log     *zap.Logger
	store   string
	tree    settings.Tree // cache directory and object store
	to      client.Reference
	client  *client.Client
	jobs    int
	key     *inventory.VerifyKey
	changed trigger // set when something may have to be pushed
	state   *push.State

	// revision and once are readRevision and pushAll; tests replace them.
	revision func(context.Context) (string, error)
	once     func(context.Context) (found bool, err error)

	mu      sync.Mutex
	status  drop.Status
	failed  bool // whether the last push that has ended failed, and something is left to push
	unsplit bool // value of --no-edition-split
}

// newFollower returns the follower of a server's store, or nil without --push-to.
func newFollower(log *zap.Logger, flags *settings.Serve, metrics prometheus.Registerer) (*follower, error) {
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
	tree := settings.Tree{CacheDir: flags.CacheDir, S3: flags.S3}
	tree.S3.WriteIndex = false // a push writes nothing into its sources
	f := &follower{log: log, store: flags.Store.Dir, tree: tree, to: to, unsplit: flags.NoEditionSplit, client: upstream, jobs: p.Upstream.Jobs, key: flags.VerifyKey, changed: make(trigger, 1)}
	f.revision, f.once, f.state = f.readRevision, f.pushAll, openState(log, to)
	f.status.Name = p.PushTo
	f.push() // An earlier process may not have pushed everything.
	return f, metrics.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "layoutproxy_last_push_successful",
		Help: "Whether the last push of the store succeeded: 1 or 0.",
	}, f.lastSuccessful))
}

// openState opens the state directory. If the server cannot write there, for example because the root
// directory of its container is read-only, the state is only in memory. Then the first push checks
// what a killed server may have sent.
func openState(log *zap.Logger, to client.Reference) *push.State {
	state, err := push.OpenState(settings.StateDir())
	if err == nil {
		err = state.CheckWritable()
	}
	if err == nil {
		return state
	}
	log.Warn("the state directory cannot be used: uploads that are interrupted by a restart start over", zap.Error(err))
	state = &push.State{}
	state.MarkInterrupted(to)
	return state
}

// push starts a push in the background, unless the current generation of the store is already
// pushed. If a push is already running, push schedules another to start when that one ends.
func (f *follower) push() {
	if f != nil {
		f.changed.set()
	}
}

// setEditionSplit applies --no-edition-split from a reloaded configuration. If the value has changed, some
// repositories belong under other names in the registry, so setEditionSplit starts a push.
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

func (f *follower) run(ctx context.Context) error {
	if f == nil {
		return nil
	}
	defer f.client.Close()
	var again <-chan time.Time
	var pushed, failed string // the last revision that was pushed, and the one whose push failed since
	var outcome string        // the state after the last push that did not fail
	for pause := time.Duration(0); ; {
		due := false
		select {
		case <-f.changed:
		case <-again:
			due = true
		case <-ctx.Done():
			return nil
		}
		now, err := f.revision(ctx)
		switch {
		case err == nil && (now == "" || now == pushed):
			again, pause, failed = nil, 0, ""
			if now == "" {
				f.settle("")
			} else {
				f.settle(outcome)
			}
			continue
		case again != nil && !due && now == failed:
			continue // only another source has changed, and the retry is not due yet
		case err == nil:
			pushed = ""
		}
		f.setState("pushing", "")
		found, err := f.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if again = nil; err == nil {
			pause, pushed, failed, outcome = 0, now, "", "pushed"
			if !found {
				outcome = ""
			}
			f.setState(outcome, "")
			continue
		}
		failed = now
		pause = min(max(firstPushPause, 2*pause), lastPushPause)
		again = time.After(pause)
		detail := exit.OneLine(exit.PushError(err))
		f.log.Warn("the push failed: layoutproxy will retry it", zap.String("to", f.status.Name), zap.Duration("pause", pause), zap.String("error", detail))
		f.setState("failed", detail)
	}
}

// settle corrects the state if nothing has to be pushed any more: the store is empty, or its old
// generation is back.
func (f *follower) settle(state string) {
	f.mu.Lock()
	old := f.status.State
	f.mu.Unlock()
	if old != state {
		f.setState(state, "")
	}
}

// readRevision returns what identifies the content of a push: a generation of the store, under the
// names that --no-edition-split determines. A store that was removed and filled again has the same
// numbers. So a revision also contains when the generation was written, or the key of its object.
// The revision is "" before the first import into a store in a bucket: other objects at its place are
// neither served nor pushed.
func (f *follower) readRevision(ctx context.Context) (string, error) {
	generation, err := f.readGeneration(ctx)
	if err != nil || generation == "" {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Sprintf("%s, unsplit: %t", generation, f.unsplit), nil
}

func (f *follower) readGeneration(ctx context.Context) (string, error) {
	if !bucket.IsPlace(f.store) {
		info, err := os.Stat(filepath.Join(f.store, journal.StateFile))
		if err != nil {
			return "", err
		}
		now, err := journal.ReadState(f.store)
		return fmt.Sprintf("%d of %d", now.Generation, info.ModTime().UnixNano()), err
	}
	at, err := settings.ParsePlace(f.store)
	if err != nil {
		return "", err
	}
	now, err := journal.ReadPointer(ctx, f.tree.S3.Buckets()(at))
	if errors.Is(err, journal.ErrNotStore) {
		return "", nil
	}
	return now.Object, err
}

// pushAll pushes everything that the registry does not have yet. If part of the store is damaged, it
// pushes the rest and returns an error. found is false if the store has no images.
func (f *follower) pushAll(ctx context.Context) (found bool, err error) {
	f.mu.Lock()
	selection := push.Selection{NoEditionSplit: f.unsplit}
	f.mu.Unlock()
	_, plan, err := source.PlanPush(ctx, &settings.Selection{Repositories: selection, VerifyKey: f.key}, f.tree, []string{f.store}, f.to)
	if err != nil {
		return false, err
	}
	failures := plan.Failures(selection)
	if len(plan.Repositories) == 0 && len(failures) == 0 {
		return false, nil
	}
	_, err = push.Run(ctx, push.Options{Plan: plan, Client: f.client, State: f.state, Jobs: f.jobs, Progress: f, Notice: func(s string) { f.log.Info(s) }})
	if err != nil {
		return true, err
	}
	if len(failures) > 0 {
		return true, fmt.Errorf("the intact part of the store was pushed, but %d places are damaged or incomplete; the first: %s", len(failures), failures[0])
	}
	f.log.Info("pushed", zap.String("to", f.status.Name))
	return true, nil
}

func (f *follower) setState(state, detail string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.State, f.status.Detail, f.status.Since = state, detail, time.Now()
	f.status.Bytes, f.status.Total = 0, 0
	if state != "pushing" {
		f.failed = state == "failed"
	}
}

// lastSuccessful returns 0 from the end of a push that failed until a push succeeds or nothing is left to
// push, and otherwise 1. A retry that is running changes nothing.
func (f *follower) lastSuccessful() float64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.failed {
		return 0
	}
	return 1
}

// pushes returns the state of the push for /status. Before the first push, the list is empty;
// afterwards it has one entry.
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

func (f *follower) Expect(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.Total = bytes
}

func (f *follower) Begin(_ string, size int64) push.Transfer { return &pushedBlob{f: f, size: size} }

// pushedBlob counts the bytes of one blob that is being pushed.
type pushedBlob struct {
	f         *follower
	size, pos int64
}

func (b *pushedBlob) At(pos int64) {
	b.f.mu.Lock()
	defer b.f.mu.Unlock()
	b.f.status.Bytes += pos - b.pos
	b.pos = pos
}

func (b *pushedBlob) End(done bool) {
	if done {
		b.At(b.size)
		return
	}
	b.At(0)
}
