//go:build full

package acceptance

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// reverseProxyTo is the environment variable that contains the reverse proxy's target URL.
const reverseProxyTo = "ACCEPTANCE_REVERSE_PROXY_TO"

// TestReverseProxy is not a test. startReverseProxy runs it in another process, as a reverse proxy.
// The proxy prints its address, and runs until its standard input ends.
func TestReverseProxy(t *testing.T) {
	to, ok := os.LookupEnv(reverseProxyTo)
	if !ok {
		return // do nothing in an ordinary test run
	}
	target, err := url.Parse(to)
	must(t, err)
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }})
	defer proxy.Close()
	fmt.Println(proxy.URL)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// startReverseProxy runs a plain reverse proxy in a separate process.
func startReverseProxy(t *testing.T, to string) (at string, pid int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run", "^TestReverseProxy$")
	cmd.Env = append(os.Environ(), reverseProxyTo+"="+to)
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	lines := bufio.NewReader(out)
	// Skip all output of the test process before the line with its address.
	for {
		line, err := lines.ReadString('\n')
		must(t, err)
		if strings.HasPrefix(line, "http://") {
			return strings.TrimSpace(line), cmd.Process.Pid
		}
	}
}

// cpu returns the processor time that a process has used. The kernel reports it in hundredths of a
// second, in fields 14 and 15 of proc_pid_stat(5).
func cpu(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat := read(t, fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		must(t, err)
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// layoutproxy needs at most 20 % more processor time to serve a blob from a bucket than a plain
// reverse proxy. Each serves the same object several times. The test compares the lowest times,
// because other work on the machine can only increase them. For the same reason, it measures again
// if the difference is too large.
func TestBlobFromABucketCostsLittleMoreThanAPlainProxy(t *testing.T) {
	const size, reads, rounds, maxRounds, limit = 256 << 20, 4, 5, 25, 1.2
	dir := t.TempDir()
	tree := layouttest.New(t, dir)
	l := tree.Layout("modules/large")
	layer := l.Blob(ocispec.MediaTypeImageLayer, noise("large", size)).Digest
	l.Tag(l.Image(layouttest.Image{Name: "large"}), "v1")
	l.Write()

	v := startVersity(t)
	v.upload(t, dir, "cost")
	s := serve(t, v.place("cost"), v.flags("--root-repository", "")...)
	proxy, proxyPID := startReverseProxy(t, v.endpoint)
	key := "modules/large/blobs/sha256/" + layer.Encoded()
	signed, err := v.open(t, "cost").PresignGet(t.Context(), key, time.Hour)
	must(t, err)

	through := map[string]struct {
		url string
		pid int
	}{
		"layoutproxy":   {"http://" + s.registry + "/v2/modules/large/blobs/" + layer.String(), s.pid},
		"reverse proxy": {proxy + strings.TrimPrefix(signed, v.endpoint), proxyPID},
	}
	least := map[string]time.Duration{}
	ratio := func() float64 { return float64(least["layoutproxy"]) / float64(least["reverse proxy"]) }
	for round := 0; round <= rounds || round <= maxRounds && ratio() > limit; round++ {
		for name, w := range through {
			before := cpu(t, w.pid)
			for range reads {
				download(t, w.url, size)
			}
			spent := cpu(t, w.pid) - before
			if round > 0 && (least[name] == 0 || spent < least[name]) {
				least[name] = spent
			}
		}
	}
	const gigabytes = float64(size) * reads / 1e9
	ours, plain := least["layoutproxy"].Seconds()/gigabytes, least["reverse proxy"].Seconds()/gigabytes
	t.Logf("processor seconds per GB: layoutproxy %.3f, plain reverse proxy %.3f, ratio %.2f", ours, plain, ratio())
	if ratio() > limit {
		t.Errorf("processor time per GB: layoutproxy %.3f s, plain reverse proxy %.3f s; want at most 20 %% more for layoutproxy", ours, plain)
	}
}

func download(t *testing.T, url string, size int64) {
	t.Helper()
	resp, err := http.Get(url)
	must(t, err)
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); err != nil || n != size || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: got status %s, %d bytes and error %v; want status 200 and %d bytes", url, resp.Status, n, err, size)
	}
}
