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
	Plan   *Plan
	Client *client.Client // with Options.Push
	State  *State         // nil disables resuming in another process
	Jobs   int            // steps that run at once; the client limits its requests itself

	SkipPreflight bool
	// CheckBlobs also checks manifests that the registry already has: whether their blobs exist,
	// and whether those with a subject are listed as referrers. Missing content is sent.
	CheckBlobs bool
	Progress   Progress             // may be nil
	Notice     func(message string) // receives messages that are not failures; may be nil
}

// Progress receives the progress of a push. Several goroutines may call its methods.
type Progress interface {
	// Expect reports the total number of bytes to transfer.
	Expect(bytes int64)
	// Begin reports the start of a blob's transfer, with the repository below the destination.
	Begin(repository string, size int64) Transfer
}

// Transfer is the transfer of one blob.
type Transfer interface {
	// At reports how many bytes are transferred. The number may decrease.
	At(pos int64)
	// End reports the end of the transfer, and whether it succeeded.
	End(done bool)
}

// pusher executes a plan.
type pusher struct {
	Options

	mu      sync.Mutex
	summary Summary
	states  map[*Repository]*remote
	// homes names, for each blob, a repository of the registry that has it.
	homes    map[digest.Digest]string
	reported map[*Blob]bool // blobs that Progress knows
	// noLists is set if the registry fails to list tags, so that lists are not requested again.
	noLists atomic.Bool
	seen    atomic.Int32 // seenNone, seenNothing or seenSomething
	lost    atomic.Bool  // content that was written did not appear
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
// error. Errors: *Error; *ProofError if content did not arrive; the context's.
func Run(ctx context.Context, o Options) (Summary, error) {
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
	if err := p.Client.Ping(ctx); err != nil {
		return withSide("ping", "", "", err)
	}
	// marker is stored while a push to the destination is incomplete: then the registry may have
	// content that it does not list.
	marker := p.State.file("push", p.Plan.Destination.String())
	interrupted := marker.Load() != ""
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
		marker.Drop()
		return nil
	}
	if !p.SkipPreflight {
		if err := p.preflight(ctx, work); err != nil {
			return err
		}
	}
	marker.Save("begun")
	if err := p.copy(ctx, work); err != nil {
		return err
	}
	if err := p.prove(ctx); err != nil {
		return err
	}
	marker.Drop()
	return nil
}

// notify reports a notice, at once and in the summary.
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
