package acceptance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// replica is a server that serves a store in a bucket. The test kills it and starts it again.
type replica struct {
	at   string // address as HOST:PORT
	args []string
	env  []string

	cmd *exec.Cmd
	log *bytes.Buffer // do not read it before cmd.Wait returns: that is a data race
}

// start runs the replica, and waits until it listens.
func (r *replica) start(ctx context.Context) error {
	r.cmd, r.log = exec.Command(program, r.args...), new(bytes.Buffer)
	r.cmd.Stdout, r.cmd.Stderr, r.cmd.Env = r.log, r.log, r.env
	if err := r.cmd.Start(); err != nil {
		return err
	}
	if err := healthy(ctx, "http://"+r.at+"/v2/", nil); err != nil {
		r.kill()
		return fmt.Errorf("%w: the replica does not listen\n%s", err, r.log)
	}
	return nil
}

// kill ends the replica with SIGKILL, and waits for its end.
func (r *replica) kill() {
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait() // the error is only that the process was killed
}

// cluster is three replicas behind a balancer, with the images that clients pull from them.
type cluster struct {
	store    objectStore
	replicas []*replica
	front    *balancer
	images   []image  // images of the first import
	late     []string // names of the repositories of the second import

	client   *patient
	imported atomic.Bool  // whether the second import has ended
	stale    atomic.Int64 // number of catalogs without the second import, read after its end
	kills    int
}

const replicaCount = 3

func startCluster(t *testing.T, o objectStore) *cluster {
	t.Helper()
	c := &cluster{store: o}
	if status, out, errs := o.run(t, "import", abs(t, bundleDir), "--store", o.place("releases")); status != 0 {
		t.Fatalf("the import ended with exit status %d, want 0\n%s%s", status, out, errs)
	}
	for _, i := range sample(t) {
		if !i.discovery() {
			c.images = append(c.images, i)
		}
	}
	addresses := freePorts(t, replicaCount)
	for _, at := range addresses {
		r := &replica{at: at, env: append(bareEnv(t.TempDir()), o.env()...)}
		r.args = append([]string{"serve", "--store", o.place("releases"), "--listen", at, "--admin-listen", "", "--rescan", "200ms", "--cache-dir", ""}, o.flags()...)
		must(t, r.start(t.Context()))
		t.Cleanup(r.kill)
		c.replicas = append(c.replicas, r)
	}
	c.front = balance(t, addresses...)
	// Without keep-alives, each request opens a connection, so the balancer spreads the requests.
	c.client = &patient{client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: commandTimeout}, retries: 20, pause: 100 * time.Millisecond}
	return c
}

// pull runs n clients, which pull random images and check catalogs until a channel is closed.
func (c *cluster) pull(ctx context.Context, n int, until <-chan struct{}) error {
	group, ctx := errgroup.WithContext(ctx)
	for id := range n {
		group.Go(func() error {
			random := rand.New(rand.NewPCG(uint64(id), 1))
			for {
				select {
				case <-until:
					return nil
				case <-ctx.Done():
					return context.Cause(ctx)
				default:
				}
				i := c.images[random.IntN(len(c.images))]
				if err := c.client.image(ctx, "http://"+c.front.address, i.name(), i.digest); err != nil {
					return fmt.Errorf("client %d: %w", id, err)
				}
				if err := c.checkCatalog(ctx); err != nil {
					return fmt.Errorf("client %d: %w", id, err)
				}
			}
		})
	}
	return group.Wait()
}

// checkCatalog reads a catalog. It returns an error if the catalog shows only a part of the second
// import, or does not show the first.
func (c *cluster) checkCatalog(ctx context.Context) error {
	imported := c.imported.Load()
	_, body, err := c.client.get(ctx, "http://"+c.front.address+"/v2/_catalog")
	if err != nil {
		return err
	}
	shown := 0
	for _, name := range c.late {
		if strings.Contains(string(body), `"`+name+`"`) {
			shown++
		}
	}
	if !strings.Contains(string(body), `"`+sampleRoot+`"`) || shown != 0 && shown != len(c.late) {
		return fmt.Errorf("got a catalog with %d of %d repositories of the second import, want all or none, and the first import: %s", shown, len(c.late), body)
	}
	if shown == 0 && imported {
		c.stale.Add(1) // this replica has not rescanned yet
	}
	return nil
}

// killInTurn kills and restarts one replica after the other, until next returns false.
func (c *cluster) killInTurn(ctx context.Context, next func() bool) error {
	for n := 0; next(); n++ {
		r := c.replicas[n%len(c.replicas)]
		r.kill()
		if err := r.start(ctx); err != nil {
			return err
		}
		c.kills++
	}
	return nil
}

func (c *cluster) importLate(ctx context.Context, bundle string, env []string) error {
	cmd := exec.CommandContext(ctx, program, append([]string{"import", bundle, "--store", c.store.place("releases")}, c.store.flags()...)...)
	cmd.Env = append(env, c.store.env()...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("import: %w\n%s", err, out)
	}
	c.imported.Store(true)
	return nil
}

// pullLate waits until each replica has the second import, and pulls its images.
func (c *cluster) pullLate(ctx context.Context) error {
	for _, r := range c.replicas {
		for _, name := range c.late {
			for {
				err := c.client.image(ctx, "http://"+r.at, name+":v1", "")
				if err == nil {
					break
				}
				if !errors.Is(err, errWrong) || ctx.Err() != nil {
					return err
				}
				select {
				case <-ctx.Done():
				case <-time.After(20 * time.Millisecond):
				}
			}
		}
	}
	return nil
}

// The test kills replicas in turn and imports a bundle. Meanwhile, every pull succeeds with the
// right content, and no catalog shows only a part of the import.
func TestPullsSucceedWhileReplicasAreKilled(t *testing.T) {
	o, _ := fakeStore(t)
	c := startCluster(t, o)
	const kills, between = 4, 40 // between is the number of pulls before each kill
	c.run(t, 64, func() bool {
		want := c.client.pulled.Load() + between
		for c.client.pulled.Load() < want {
			select {
			case <-t.Context().Done():
				return false
			case <-time.After(time.Millisecond):
			}
		}
		return c.kills < kills
	})
}

// run pulls, kills replicas and imports at the same time, until nextKill returns false.
func (c *cluster) run(t *testing.T, clients int, nextKill func() bool) {
	t.Helper()
	bundle := t.TempDir()
	c.late = moduleBundle(t, bundle, 12)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	over := make(chan struct{})
	var pulling, killing, importing error
	var running sync.WaitGroup
	running.Go(func() {
		if pulling = c.pull(ctx, clients, over); pulling != nil {
			cancel(pulling)
		}
	})
	running.Go(func() { importing = c.importLate(ctx, bundle, bareEnv(os.TempDir())) })
	killing = c.killInTurn(ctx, func() bool { return ctx.Err() == nil && nextKill() })
	close(over)
	running.Wait()
	for _, err := range []error{pulling, killing, importing} {
		must(t, err)
	}
	late, stop := context.WithTimeout(t.Context(), commandTimeout)
	defer stop()
	must(t, c.pullLate(late))
	t.Logf("%d clients pulled %d images and repeated %d requests; the test killed %d replicas; %d catalogs were stale",
		clients, c.client.pulled.Load(), c.client.retried.Load(), c.kills, c.stale.Load())
	if c.kills == 0 || c.client.retried.Load() == 0 {
		t.Errorf("got %d kills and %d repeated requests, want at least 1 of each", c.kills, c.client.retried.Load())
	}
}
