package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/importer/drop"
	"github.com/layoutproxy/layoutproxy/importer/push"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// pushToFlags are the flags of serve that concern a registry which gets what is imported.
type pushToFlags struct {
	to       string
	upstream upstreamFlags
}

func (p *pushToFlags) flags(f *pflag.FlagSet) {
	f.StringVar(&p.to, "push-to", "", "`REGISTRY/PATH` that the store is pushed to at the start and after each import")
	p.upstream.flags(f)
}

// check finds what is wrong with the flags; store is the directory of the store.
func (p *pushToFlags) check(store string) error {
	if p.to == "" {
		return nil
	}
	if store == "" {
		return exit.UsageError(exit.WithHint(errors.New("--push-to without --store"), "it pushes what is imported into a store: --store /srv/store"))
	}
	if _, err := parseUpstream(p.to); err != nil {
		return err
	}
	return p.upstream.check()
}

// Pauses before a push is tried again.
const (
	firstPushPause = 10 * time.Second
	lastPushPause  = 10 * time.Minute
)

// following pushes a store to a registry whenever it has changed. Serving never waits for it.
type following struct {
	log      *zap.Logger
	store    string
	cacheDir string
	to       client.Reference
	client   *client.Client
	jobs     int
	changed  chan struct{} // of one: there is something to push

	mu      sync.Mutex
	status  drop.Status
	unsplit bool // --no-edition-split
}

// newFollowing makes what pushes a server's store, or nil where no flag asks for it.
func newFollowing(log *zap.Logger, flags *serveFlags) (*following, error) {
	p := &flags.store.push
	if p.to == "" {
		return nil, nil
	}
	to, err := parseUpstream(p.to)
	if err != nil {
		return nil, err
	}
	log = log.Named("push")
	upstream, err := p.upstream.open(to, true, os.Stdin, log)
	if err != nil {
		return nil, err
	}
	f := &following{log: log, store: flags.store.dir, cacheDir: flags.cacheDir, to: to, unsplit: flags.noEditionSplit, client: upstream, jobs: p.upstream.jobs, changed: make(chan struct{}, 1)}
	f.status.Name = p.to
	f.push() // what an earlier process may not have pushed
	return f, nil
}

// push asks for a push, and returns at once.
func (f *following) push() {
	if f == nil {
		return
	}
	select {
	case f.changed <- struct{}{}:
	default: // one is to begin anyway
	}
}

// setEditionSplit follows a changed configuration: where repositories go to elsewhere
// now, it asks for a push.
func (f *following) setEditionSplit(unsplit bool) {
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
func (f *following) run(ctx context.Context) error {
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
		f.state("pushing", "")
		err := f.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if again = nil; err == nil {
			pause = 0
			f.state("pushed", "")
			continue
		}
		pause = min(max(firstPushPause, 2*pause), lastPushPause)
		again = time.After(pause)
		f.log.Warn("pushing failed and is tried again", zap.String("to", f.status.Name), zap.Duration("pause", pause), zap.String("error", reason(exit.PushError(err))))
		f.state("failed", reason(exit.PushError(err)))
	}
}

// once pushes what the upstream registry lacks of the store. Where the store itself
// has gaps, what is whole is pushed, and that is an error still.
func (f *following) once(ctx context.Context) error {
	f.mu.Lock()
	selection := push.Selection{NoEditionSplit: f.unsplit}
	f.mu.Unlock()
	tree, plan, err := planPush(ctx, &selectionFlags{selection: selection}, f.cacheDir, []string{f.store}, f.to)
	if err != nil {
		return err
	}
	gaps := pushGaps(tree.Snapshot(), plan, selection)
	if len(plan.Repositories) == 0 && len(gaps) == 0 {
		return nil
	}
	state, err := push.OpenState(stateDirectory())
	if err != nil {
		return err
	}
	pusher, err := push.New(push.Options{Plan: plan, Client: f.client, State: state, Jobs: f.jobs, Notice: func(s string) { f.log.Info(s) }})
	if err != nil {
		return err
	}
	if _, err := pusher.Push(ctx); err != nil {
		return err
	}
	if len(gaps) > 0 {
		return fmt.Errorf("the store is damaged or incomplete in %d places, and the rest is pushed: %s", len(gaps), gaps[0])
	}
	f.log.Info("pushed", zap.String("to", f.status.Name))
	return nil
}

func (f *following) state(state, detail string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.State, f.status.Detail, f.status.Since = state, detail, time.Now()
}

// reason is an error with what to do about it, for a status of one line.
func reason(err error) string {
	if hint := exit.Hint(err); hint != "" {
		return err.Error() + "; " + hint
	}
	return err.Error()
}

// imports is what /status says of the push: nothing before the first one.
func (f *following) imports() []drop.Status {
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.status.State == "" {
		return nil
	}
	return []drop.Status{f.status}
}
