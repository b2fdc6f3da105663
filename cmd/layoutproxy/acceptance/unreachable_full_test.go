//go:build full

package acceptance

import (
	"bufio"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/bucket/buckettest"
)

// If a bucket does not answer, as behind a firewall that drops packets, the first request detects
// the outage. This request gets status 429 as soon as the outage is detected, and later requests
// after 30 seconds. The server recovers by itself.
func TestBucketBehindABlackHole(t *testing.T) {
	_, line, s := serveBehindLine(t, "1h")
	base := "http://" + s.registry
	once := &patient{client: http.DefaultClient}
	i := pick(t, sample(t), installer)
	must(t, once.image(t.Context(), base, installer, i.digest))
	url := base + "/v2/" + i.repository + "/blobs/" + largest(t, i).String()

	line.set(hole)
	for _, least := range []time.Duration{0, 29 * time.Second} { // the first request reveals the outage
		begun := time.Now()
		resp, body := requestOnce(t, http.MethodGet, url)
		if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") == "" || time.Since(begun) < least {
			t.Errorf("got status %s after %s, want 429 with Retry-After after at least %s; body %s", resp.Status, time.Since(begun), least, body)
		}
		if reason := waitReady(t, s, http.StatusServiceUnavailable); !strings.Contains(reason, "unreachable") {
			t.Errorf("/readyz gives the reason %q, want one with \"unreachable\"", reason)
		}
	}
	if status := statusAt(t, base+"/v2/"+i.repository+"/manifests/"+i.tag); status != http.StatusOK {
		t.Errorf("a manifest in memory got status %d during the outage, want 200", status)
	}
	line.set(passing)
	waitReady(t, s, http.StatusOK)
	must(t, once.image(t.Context(), base, installer, i.digest))
}

// At its start, serve waits for an unavailable object store. It fails with --rescan 0 or if access is denied.
func TestStartWithoutTheBucket(t *testing.T) {
	o, server := fakeStore(t)
	o.upload(t, bundleDir, "bundle")
	server.Fail(func(buckettest.Request) buckettest.Fault { return buckettest.Unavailable() })
	address := freePorts(t, 1)[0]
	args := append([]string{"serve", o.place("bundle"), "--listen", address, "--admin-listen", ""}, o.flags()...)
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(bareEnv(t.TempDir()), o.env()...)
	log, err := cmd.StderrPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := bufio.NewReader(log)
	for line := ""; !strings.Contains(line, "waiting for a bucket: layoutproxy serves nothing until it answers"); {
		line, err = lines.ReadString('\n')
		must(t, err) // this fails only if serve has ended
		if !strings.Contains(line, "503 SlowDown") {
			t.Errorf("got the log line %q while the bucket is unavailable, want \"503 SlowDown\" in it", line)
		}
	}
	if resp, err := http.Get("http://" + address + "/v2/"); err == nil {
		resp.Body.Close()
		t.Error("serve listened before it had scanned the bucket, want no connection")
	}
	server.Fail(nil)
	ended := make(chan error, 1)
	go func() {
		_, _ = io.Copy(io.Discard, lines) // discard the log until serve ends
		ended <- cmd.Wait()
	}()
	must(t, healthy(t.Context(), "http://"+address+"/v2/", ended))
	_ = cmd.Process.Signal(syscall.SIGTERM)
	must(t, <-ended)
	for name, c := range map[string]struct {
		fault buckettest.Fault
		flags []string
		want  string
	}{
		"403":             {buckettest.Fault{Status: 403, Code: "AccessDenied"}, nil, "access denied (403 AccessDenied)"},
		"503, no rescans": {buckettest.Unavailable(), []string{"--rescan", "0"}, "503 SlowDown"},
	} {
		server.Fail(func(buckettest.Request) buckettest.Fault { return c.fault })
		status, _, errs := o.run(t, "serve", append([]string{o.place("bundle"), "--listen", "127.0.0.1:0", "--admin-listen", ""}, c.flags...)...)
		if status != 1 || !strings.Contains(errs, c.want) {
			t.Errorf("%s: got exit status %d, want 1 and %q in the log: %s", name, status, c.want, errs)
		}
	}
}
