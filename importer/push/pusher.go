package push

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/registry/client"
)

// Options configure a push.
type Options struct {
	// Plan is required.
	Plan *Plan
	// Client is the client of the registry. It is required, and Push must be set in its options.
	Client *client.Client
	// State lets another process resume an interrupted push. If it is nil, no other process can.
	State *State
	// Jobs is the number of steps that run at the same time. The client limits its requests itself.
	Jobs int

	SkipPreflight bool
	// CheckBlobs makes the push check existing manifests: whether the registry still has their blobs, and
	// lists them as referrers. It sends what is missing. If State has an interrupted push of the content, it is always on.
	CheckBlobs bool
	// Progress is called during the push. It may be nil.
	Progress Progress
	// Notice is called with messages that do not report failures. It may be nil.
	Notice func(message string)
}

// ErrOptions reports that the options have no plan or no client.
var ErrOptions = errors.New("a push needs a plan and a client")

// Progress receives the progress of a push. Its methods must be safe for concurrent calls.
type Progress interface {
	// Expect reports the total number of bytes that the push will transfer.
	Expect(bytes int64)
	// Begin reports that the transfer of a blob starts. repository is relative to the destination.
	Begin(repository string, size int64) Transfer
}

// Transfer receives the progress of the transfer of one blob.
type Transfer interface {
	// At reports how many bytes of the blob were transferred. The number may decrease.
	At(pos int64)
	// End reports that the transfer has ended, and whether it succeeded.
	End(done bool)
}

type pusher struct {
	Options

	mu      sync.Mutex
	summary Summary
	states  map[*Repository]*remote
	// homes maps each blob to a repository of the registry that has it.
	homes map[digest.Digest]string
	// reported are the blobs whose transfer was reported to Progress.
	reported map[*Blob]bool
	// noLists is set if the registry fails to list tags, so that lists are not requested again.
	noLists atomic.Bool
	// seen is seenNone, seenNothing or seenSomething.
	seen atomic.Int32
	// lost means that written content did not appear in the registry.
	lost    atomic.Bool
	written []written
}

func newPusher(o Options) *pusher {
	o.State, o.Progress = cmp.Or(o.State, &State{}), cmp.Or(o.Progress, Progress(silent{}))
	if o.Jobs < 1 {
		o.Jobs = client.DefaultJobs
	}
	if o.Notice == nil {
		o.Notice = func(string) {}
	}
	p := &pusher{Options: o, summary: Summary{Notices: []string{}, Differences: []Difference{}}, states: map[*Repository]*remote{}, homes: map[digest.Digest]string{}, reported: map[*Blob]bool{}}
	for _, r := range o.Plan.Repositories {
		p.states[r] = &remote{tags: map[string]digest.Digest{}, manifests: map[digest.Digest]bool{}, blobs: map[digest.Digest]bool{}}
	}
	return p
}

// Run executes a plan and proves the result. The summary describes what was done, even after an
// error. Run fails with *ProofError if content did not arrive. Other errors are ErrOptions, an *Error
// or the context's error.
func Run(ctx context.Context, o Options) (Summary, error) {
	if o.Plan == nil || o.Client == nil {
		return Summary{Notices: []string{}, Differences: []Difference{}}, ErrOptions
	}
	began, p := time.Now(), newPusher(o)
	err := p.push(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	stats := p.Client.Stats()
	p.summary.Seconds = time.Since(began).Seconds()
	p.summary.BytesSent, p.summary.Requests, p.summary.Retries = stats.Sent, stats.Requests, stats.Retries
	p.summary.Complete = err == nil
	var unproven *ProofError
	if errors.As(err, &unproven) {
		p.summary.Differences = unproven.Differences
	}
	return p.summary, err
}

func (p *pusher) push(ctx context.Context) error {
	for _, notice := range p.Plan.Notices {
		p.notify(notice)
	}
	if err := p.Client.Ping(ctx); err != nil {
		return withSide("ping", "", "", err)
	}
	// A marker is stored while a push of some of this content is incomplete. In that state, a repository
	// may have blobs but no tags, so a missing list of tags does not mean that it is empty.
	content := p.Plan.markerLines()
	markers := p.State.findMarkers(p.Plan.Destination, content)
	interrupted := len(markers) > 0
	if err := p.findExisting(ctx, interrupted); err != nil {
		return err
	}
	// Check the content that an interrupted push wrote but did not prove.
	if p.CheckBlobs || interrupted {
		if err := p.check(ctx); err != nil {
			return err
		}
	}
	work := p.findMissing()
	if work.isEmpty() {
		unmark(markers, content)
		return nil
	}
	if !p.SkipPreflight {
		if err := p.preflight(ctx, work); err != nil {
			return err
		}
	}
	markers = append(markers, p.State.mark(p.Plan.Destination, content))
	if err := p.copy(ctx, work); err != nil {
		return err
	}
	if err := p.prove(ctx); err != nil {
		return err
	}
	unmark(markers, content)
	return nil
}

// notify reports a notice, both at once and in the summary.
func (p *pusher) notify(message string) {
	p.count(func(s *Summary) { s.Notices = append(s.Notices, message) })
	p.Notice(message)
}

func (p *pusher) count(change func(*Summary)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.summary)
}

type silent struct{}

func (silent) Expect(int64)                 {}
func (silent) Begin(string, int64) Transfer { return silent{} }
func (silent) At(int64)                     {}
func (silent) End(bool)                     {}
