package push

import (
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
	Jobs   int            // steps at once; the client limits its requests itself

	SkipPreflight bool
	// CheckBlobs also checks the blobs of manifests that the registry already has, and whether
	// those with a subject are listed as referrers, and sends what is missing.
	CheckBlobs bool
	Progress   Progress // may be nil
	// Notice receives messages that are not failures. It may be nil.
	Notice func(message string)
}

// Progress receives the progress of a push. Several goroutines may call its methods.
type Progress interface {
	// Expect reports the total number of bytes to transfer.
	Expect(bytes int64)
	// Begin reports the start of the transfer of a blob of a repository.
	Begin(repository string, size int64) Transfer
}

// Transfer is one blob in transfer.
type Transfer interface {
	// At reports how many bytes are transferred. The number may decrease.
	At(pos int64)
	// End reports the end of the transfer, and whether it succeeded.
	End(done bool)
}

// Pusher executes a plan.
type Pusher struct {
	Options

	mu      sync.Mutex
	summary Summary
	states  map[*Repository]*remote
	// homes are repositories that already have a blob.
	homes    map[digest.Digest]string
	reported map[*Blob]bool // to the progress
	// noLists is set if the registry fails to list tags, so that lists are not requested again.
	noLists atomic.Bool
	seen    atomic.Int32 // seenNone and so on
	lost    atomic.Bool  // something that was written did not appear
	written []written
}

// New returns a pusher.
func New(o Options) (*Pusher, error) {
	if o.Plan == nil || o.Client == nil {
		return nil, errors.New("a push needs a plan and a client")
	}
	if o.State == nil {
		o.State = &State{}
	}
	if o.Jobs < 1 {
		o.Jobs = client.DefaultJobs
	}
	if o.Progress == nil {
		o.Progress = silent{}
	}
	if o.Notice == nil {
		o.Notice = func(string) {}
	}
	p := &Pusher{Options: o, summary: Summary{Notices: []string{}, Differences: []Difference{}}, states: map[*Repository]*remote{}, homes: map[digest.Digest]string{}, reported: map[*Blob]bool{}}
	for _, r := range o.Plan.Repositories {
		p.states[r] = &remote{tags: map[string]digest.Digest{}, manifests: map[digest.Digest]bool{}, blobs: map[digest.Digest]bool{}}
	}
	return p, nil
}

// Push executes the plan and proves the result. The summary describes what was done, even after
// an error. Errors: *Error; *ProofError if something did not arrive; the context's.
func (p *Pusher) Push(ctx context.Context) (Summary, error) {
	began := time.Now()
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

func (p *Pusher) push(ctx context.Context) error {
	if err := p.Client.Ping(ctx); err != nil {
		return sided("ping", "", "", err)
	}
	marker := p.State.begun(p.Plan.Destination.String())
	before := marker.Load() != ""
	if err := p.look(ctx, before); err != nil {
		return err
	}
	// Prove what an interrupted push wrote but did not check.
	if p.CheckBlobs || before {
		if err := p.check(ctx); err != nil {
			return err
		}
	}
	work := p.findMissing()
	if work.empty() {
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
func (p *Pusher) notify(message string) {
	p.count(func(s *Summary) { s.Notices = append(s.Notices, message) })
	p.Notice(message)
}

func (p *Pusher) count(change func(*Summary)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.summary)
}

type silent struct{}

func (silent) Expect(int64)                 {}
func (silent) Begin(string, int64) Transfer { return silent{} }
func (silent) At(int64)                     {}
func (silent) End(bool)                     {}
