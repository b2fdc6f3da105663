//go:build full

package acceptance

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// After a client is killed in the middle of a layer, the next pull resumes there. The test kills
// the process that downloads: ctr in 1.x and with --local, otherwise containerd.
func TestNodesResumeAfterAKill(t *testing.T) {
	a := newApp(t, "killed")
	w := newWire(t, serve(t, a.dir, "--root-repository", ""))
	everyWay(t, func(t *testing.T, c *containerd, p puller) {
		c.mirror(t, mirroredHost, w.url)
		before := len(w.requests(string(a.large.Digest)))
		reached := w.hold(a.large.Digest, a.large.Size/2)
		if p.name == "cri" || p.name == "ctr" && c.major >= 2 {
			go func() { _, _ = p.pull(t, c, mirroredHost+"/app:v1") }() // this pull fails, because the test kills containerd
			c.waitForHalf(t, reached)
			c.stop(t, syscall.SIGKILL)
			c.start(t)
		} else {
			ctr := c.startPull(t, p, mirroredHost+"/app:v1")
			c.waitForHalf(t, reached)
			must(t, ctr.Process.Kill())
			_ = ctr.Wait() // killed
		}
		p.pullAndCompare(t, c, mirroredHost+"/app:v1", a.content(t, a.image.Digest))
		asked := w.requests(string(a.large.Digest))[before:]
		last := asked[len(asked)-1]
		var from int64
		if n, _ := fmt.Sscanf(last.ranges, "bytes=%d-", &from); n != 1 || from == 0 || last.status != 206 {
			t.Errorf("got requests %+v for the layer, want the last to be a range that starts after byte 0, with status 206", asked)
		}
	})
}

// startPull starts ctr images pull, and does not wait for it.
func (c *containerd) startPull(t *testing.T, p puller, reference string) *exec.Cmd {
	t.Helper()
	args := []string{"-a", c.socket, "-n", "ctr", "images", "pull", "--hosts-dir", c.certs}
	if p.name == "ctr --local" {
		args = append(args, "--local")
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(c.bin, "ctr"), append(args, reference)...)
	cmd.Env = []string{"HOME=" + filepath.Join(c.dir, "home")}
	must(t, cmd.Start())
	return cmd
}

// waitForHalf waits until the proxy has stopped the download, and a part of the layer is on disk.
func (c *containerd) waitForHalf(t *testing.T, reached <-chan struct{}) {
	t.Helper()
	deadline := time.After(commandTimeout)
	select {
	case <-reached:
	case <-deadline:
		t.Fatalf("the client did not download half of the layer in time; log of containerd:\n%s", c.logged())
	}
	for {
		files, _ := filepath.Glob(filepath.Join(string(c.store()), "ingest", "*", "data"))
		for _, file := range files {
			if info, err := os.Stat(file); err == nil && info.Size() > 1<<20 {
				return
			}
		}
		select {
		case <-deadline:
			t.Fatalf("containerd has the partial downloads %s, want one of more than 1 MiB", files)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// containerd 2.x downloads parts of a layer concurrently. Each part has its own connection.
func TestNodesPullInParts(t *testing.T) {
	a := newApp(t, "in parts")
	w := newWire(t, serve(t, a.dir, "--root-repository", ""))
	for _, r := range releases(t) {
		if r.major < 2 {
			continue // containerd 1.x downloads layers in one request
		}
		for _, p := range r.pullers()[:2] { // only the transfer service pulls layers in parts
			t.Run(p.name, func(t *testing.T) {
				c := startContainerd(t, r, map[string]string{
					transferPlugin: "concurrent_layer_fetch_buffer = 1048576\nmax_concurrent_downloads = 4",
				})
				c.mirror(t, mirroredHost, w.url)
				before := len(w.requests(string(a.large.Digest)))
				p.pullAndCompare(t, c, mirroredHost+"/app:nested", a.content(t, a.nested.Digest))
				parts := map[string]bool{}
				for _, asked := range w.requests(string(a.large.Digest))[before:] {
					parts[asked.ranges] = true
					if asked.status != 206 || !strings.HasPrefix(asked.ranges, "bytes=") {
						t.Errorf("got the request %+v for the layer, want a range with status 206", asked)
					}
				}
				if len(parts) < 4 {
					t.Errorf("containerd requested the ranges %v of the layer, want at least 4 different ones", parts)
				}
			})
		}
	}
}

// docs/containerd.md warns about a config_path with several directories. The transfer service of
// containerd 2.x ignores such a path.
func TestTransferServiceIgnoresListOfDirectories(t *testing.T) {
	a := newApp(t, "list")
	s := serve(t, a.dir, "--root-repository", "")
	for name, test := range map[string]struct {
		local bool
		reads bool
	}{
		"transfer service": {false, false},
		"local pull":       {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := releases(t)[1]
			certs := filepath.Join(t.TempDir(), "certs.d")
			c := startContainerd(t, r, map[string]string{
				"io.containerd.cri.v1.images":           fmt.Sprintf("use_local_image_pull = %v", test.local),
				`io.containerd.cri.v1.images".registry`: fmt.Sprintf("config_path = %q", certs+":/etc/docker/certs.d"),
			})
			c.certs = certs
			c.mirror(t, mirroredHost, "http://"+s.registry)
			if out, err := byCRI(t, c, mirroredHost+"/app:v1"); (err == nil) != test.reads {
				t.Errorf("the pull by CRI returned the error %s; want an error from the transfer service, and none from a local pull", out)
			}
			out := run(t, program, "doctor", "--hosts-dir", certs, "http://"+s.registry, mirroredHost+"/app:v1")
			if warned := strings.Contains(out, "only a single directory"); warned == test.reads {
				t.Errorf("doctor must warn about several directories with the transfer service, but not with a local pull; it printed:\n%s", out)
			}
		})
	}
}
