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

// Options say how a plan is carried out.
type Options struct {
	Plan   *Plan
	Client *client.Client // with Options.Push
	State  *State         // nil keeps nothing
	Jobs   int            // steps at once; the client bounds its requests by itself

	SkipPreflight bool
	// CheckBlobs asks also for the blobs of manifests that are there already, and whether
	// those with a subject are listed with it, and sends what is missing.
	CheckBlobs bool
	Progress   Progress // nil is none
	// Notice is told what is worth knowing and no failure, if not nil.
	Notice func(message string)
}

// Progress is told how a push goes on. Its methods may be called from several
// goroutines.
type Progress interface {
	// Expect says how many bytes there are to transfer in all.
	Expect(bytes int64)
	// Begin says that the transfer of a blob begins.
	Begin(name string, size int64) Transfer
}

// Transfer is one blob under way.
type Transfer interface {
	// At says how many bytes are there. It may be fewer than before.
	At(pos int64)
	// End says that it is over, and whether the blob is there.
	End(done bool)
}

// Pusher carries a plan out.
type Pusher struct {
	Options

	mu      sync.Mutex
	summary Summary
	states  map[*Repository]*remote
	// homes are repositories that have a blob by now.
	homes map[digest.Digest]string
	told  map[*Blob]bool // to the progress
	// noLists says that the registry fails at lists of tags, which is not waited for again.
	noLists atomic.Bool
	seen    atomic.Int32 // seenNone and so on
	lost    atomic.Bool  // something that was written did not turn up
	written []written
}

// New makes a pusher.
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
	p := &Pusher{Options: o, summary: Summary{Notices: []string{}, Differences: []Difference{}}, states: map[*Repository]*remote{}, homes: map[digest.Digest]string{}, told: map[*Blob]bool{}}
	for _, r := range o.Plan.Repositories {
		p.states[r] = &remote{tags: map[string]digest.Digest{}, manifests: map[digest.Digest]bool{}, blobs: map[digest.Digest]bool{}}
	}
	return p, nil
}

// Push carries the plan out and proves it. The summary tells what was done, also where
// it ended early. Errors: *Error; *ProofError where something did not arrive; the
// context's.
func (p *Pusher) Push(ctx context.Context) (Summary, error) {
	began := time.Now()
	err := p.push(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	stats := p.Client.Stats()
	p.summary.Seconds = time.Since(began).Seconds()
	p.summary.BytesSent, p.summary.Requests, p.summary.Retries = stats.Sent, stats.Requests, stats.Retries
	p.summary.Complete = err == nil
	var gap *ProofError
	if errors.As(err, &gap) {
		p.summary.Differences = gap.Differences
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
	// What an earlier push wrote, and did not live to ask for, is asked for now.
	if p.CheckBlobs || before {
		if err := p.check(ctx); err != nil {
			return err
		}
	}
	work := p.missing()
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

// tell tells what is worth knowing, at once and in the summary.
func (p *Pusher) tell(message string) {
	p.count(func(s *Summary) { s.Notices = append(s.Notices, message) })
	p.Notice(message)
}

// count changes the summary.
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
