package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/console"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// A push of d8's bundle into an empty registry gives the same content as d8's own push.
func TestPushGivesSameContentAsD8(t *testing.T) {
	t.Parallel()
	want := expected(t, "testdata/d8/expected.tsv")
	sources := map[string][]string{"archives": {"testdata/d8"}, "directories": unpackEach(t, "testdata/d8")}
	chunks := t.TempDir()
	if err := os.CopyFS(chunks, os.DirFS("testdata/d8")); err != nil {
		t.Fatal(err)
	}
	archives, err := filepath.Glob(filepath.Join(chunks, "*.tar"))
	if err != nil {
		t.Fatal(err)
	}
	for _, archive := range archives {
		layouttest.Split(t, archive, 100_000)
	}
	sources["chunks"] = []string{chunks}
	for name, sources := range sources {
		t.Run(name, func(t *testing.T) {
			r := registrytest.New(t, registrytest.Options{})
			args := append([]string{"push", "--state-dir", t.TempDir(), "--cache-dir", ""}, sources...)
			if out, err := program(t, append(args, r.Host+"/deckhouse/ee")...).CombinedOutput(); err != nil {
				t.Fatalf("the push ended with %v, want exit status 0\n%s", err, out)
			}
			if diff := cmp.Diff(want, pulled(t, r.Host, want)); diff != "" {
				t.Errorf("unexpected content (-want +got): %s", diff)
			}
			compareAgainst(t, r.Host+"/deckhouse/ee", sources, 0)
		})
	}
}

// some stands for at least one difference.
const some = -1

// compareAgainst compares sources with a registry. It fails the test unless there are no
// differences (want is 0) or at least one (want is some).
func compareAgainst(t *testing.T, to string, sources []string, want int) {
	t.Helper()
	var a againstFlags
	a.flags(pflag.NewFlagSet("test", pflag.ContinueOnError))
	a.registry = to
	c, problems, err := a.compare(t.Context(), &console.Output{Log: zap.NewNop()}, settings.Tree{}, sources, strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := c.WriteText(&text); err != nil || (len(c.Differences) == 0) != (want == 0) || (a.comparisonError(c, problems) == nil) != (want == 0) {
		t.Errorf("comparison: got the error %v, want %d differences (%d means at least one):\n%s", err, want, some, text.String())
	}
}

// A push of a large blob is killed twenty times. Together, all attempts send little more than the
// size of the blob.
func TestKilledPushResumesInsideBlob(t *testing.T) {
	t.Parallel()
	const size, kills = 100 << 20, 20
	dir := t.TempDir()
	l := layouttest.New(t, dir).Layout("big")
	l.Tag(l.Image(layouttest.Image{Name: "big", LayerSizes: []int64{size}}), "v1")
	l.Write()
	r := registrytest.New(t, registrytest.Options{})
	var received atomic.Int64
	var killAt atomic.Int64
	var kill atomic.Pointer[os.Process]
	r.Inject(func(_ http.ResponseWriter, req *http.Request, _ http.Handler) bool {
		req.Body = &metered{ReadCloser: req.Body, read: func(n int) {
			if p := kill.Load(); received.Add(int64(n)) >= killAt.Load() && p != nil {
				_ = p.Kill() // The process may have ended already.
			}
		}}
		return false
	})
	args := []string{"push", "--state-dir", t.TempDir(), "--cache-dir", "", dir, r.Host + "/x"}
	for i := range kills {
		killAt.Store(size / (kills + 1) * int64(i+1))
		cmd := program(t, args...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill.Store(cmd.Process)
		if err := cmd.Wait(); err == nil {
			t.Fatalf("push number %d ended with exit status 0, want it killed", i)
		}
		kill.Store(nil)
	}
	killAt.Store(1 << 62)
	if out, err := program(t, args...).CombinedOutput(); err != nil {
		t.Fatalf("the last push ended with %v, want exit status 0\n%s", err, out)
	}
	if ratio := float64(received.Load()) / size; ratio > 1.1 {
		t.Errorf("all pushes together sent %.2f times the size of the blob, want at most 1.1", ratio)
	}
	compareAgainst(t, r.Host+"/x", []string{dir}, 0)
}

type metered struct {
	io.ReadCloser
	read func(int)
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	m.read(n)
	return n, err
}

// Ctrl-C ends a push with exit status 130, even while the registry does not answer. The next push
// resumes it.
func TestPushInterrupted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := layouttest.New(t, dir).Layout("big")
	l.Tag(l.Image(layouttest.Image{Name: "big", LayerSizes: []int64{17 << 20}}), "v1")
	l.Write()
	r := registrytest.New(t, registrytest.Options{})
	stall, release := registrytest.Stall(registrytest.Nth(2, 2, registrytest.On("PATCH uploads")))
	defer release()
	reached := make(chan struct{})
	second := registrytest.Nth(2, 2, registrytest.On("PATCH uploads"))
	r.Inject(stall)
	r.Inject(func(_ http.ResponseWriter, req *http.Request, _ http.Handler) bool {
		if second(req) {
			close(reached)
		}
		return false
	})
	args := []string{"push", "--state-dir", t.TempDir(), "--cache-dir", "", dir, r.Host + "/x"}
	cmd := program(t, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-reached
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != exit.Interrupted {
		t.Errorf("the interrupted push ended with %v, want exit status %d", err, exit.Interrupted)
	}
	compareAgainst(t, r.Host+"/x", []string{dir}, some)
	if out, err := program(t, args...).CombinedOutput(); err != nil {
		t.Errorf("the second push ended with %v, want exit status 0\n%s", err, out)
	}
	compareAgainst(t, r.Host+"/x", []string{dir}, 0)
}

// No secret appears in errors, in the log or in the list of processes.
func TestPushShowsNoSecret(t *testing.T) {
	t.Parallel()
	r := registrytest.New(t, registrytest.Options{Basic: true})
	cmd := program(t, "push", "--log-level", "debug", "--username", registrytest.Username, "--password-stdin", "--retries", "1", "testdata/d8", r.Host+"/x")
	cmd.Stdin = strings.NewReader(registrytest.Password)
	r.Inject(registrytest.Answer(registrytest.On("PUT uploads"), 500))
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatal("the push ended with exit status 0, want an error: the registry refused its uploads")
	}
	for _, secret := range []string{registrytest.Password, "_state"} {
		if strings.Contains(string(out), secret) {
			t.Errorf("want no secret %q in the output, got\n%s", secret, out)
		}
	}
	if strings.Contains(strings.Join(cmd.Args, " "), registrytest.Password) {
		t.Error("the password is on the command line, want it only on standard input")
	}
}
