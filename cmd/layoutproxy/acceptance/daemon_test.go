package acceptance

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// release is an installed release of containerd.
type release struct {
	name  string
	bin   string // directory that contains containerd, ctr and the shim
	major int
}

func packagedRelease(t *testing.T) release {
	t.Helper()
	return release{"packaged", filepath.Dir(packaged(t, "containerd")), 1}
}

// containerd is a running containerd process. Its root, state and certs.d are below dir.
type containerd struct {
	release
	dir, socket, certs string
	pid                int

	cmd *exec.Cmd
}

// startContainerd runs containerd until the test ends. See config for the form of settings.
func startContainerd(t *testing.T, r release, settings map[string]string) *containerd {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("containerd can run only as root\nhint: run the tests as root")
	}
	dir, err := os.MkdirTemp("", "lp-") // a short name: a socket's path has at most 107 bytes
	must(t, err)
	t.Cleanup(func() { removeMounted(t, dir) })
	c := &containerd{release: r, dir: dir, socket: filepath.Join(dir, "s.sock"), certs: filepath.Join(dir, "certs.d")}
	for _, name := range []string{"certs.d", "bin", "home", "plugins"} {
		must(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	for _, program := range []string{filepath.Join(r.bin, "containerd-shim-runc-v2"), packaged(t, "runc")} {
		must(t, os.Symlink(program, filepath.Join(dir, "bin", filepath.Base(program))))
	}
	c.write(t, "config.toml", c.config(settings))
	c.start(t)
	t.Cleanup(func() { c.stop(t, syscall.SIGTERM) })
	return c
}

func (c *containerd) write(t *testing.T, name, text string) {
	t.Helper()
	layouttest.WriteFile(t, filepath.Join(c.dir, name), text)
}

// Names of containerd plugins.
const (
	metadataPlugin = "io.containerd.metadata.v1.bolt"
	transferPlugin = "io.containerd.transfer.v1.local"
)

// config returns the text of config.toml. A key of settings is PLUGIN, or PLUGIN".TABLE (with this
// quotation mark). The value is TOML text for the plugin or the table, and replaces config's own text for it.
func (c *containerd) config(settings map[string]string) string {
	version, cri := 2, "io.containerd.grpc.v1.cri"
	if c.major >= 2 {
		version, cri = 3, "io.containerd.cri.v1.images"
	}
	path := fmt.Sprintf("config_path = %q", c.certs)
	all := map[string]string{
		metadataPlugin:                  `content_sharing_policy = "isolated"`, // so each namespace must pull all blobs itself
		cri + `".registry`:              path,
		transferPlugin:                  path,
		"io.containerd.internal.v1.opt": fmt.Sprintf("path = %q", filepath.Join(c.dir, "opt")),
		"io.containerd.nri.v1.nri":      "disable = true", // otherwise, all containerd processes would use the same socket
	}
	maps.Copy(all, settings)
	var b strings.Builder
	fmt.Fprintf(&b, "version = %d\nroot = %q\nstate = %q\n[grpc]\naddress = %q\n[debug]\nlevel = \"warn\"\n",
		version, filepath.Join(c.dir, "root"), filepath.Join(c.dir, "state"), c.socket)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		plugin, table, found := strings.Cut(name, `".`)
		if found {
			table = "." + table
		}
		fmt.Fprintf(&b, "[plugins.%q%s]\n%s\n", plugin, table, all[name])
	}
	return b.String()
}

// start starts containerd, and waits until it answers. It keeps content from earlier runs.
func (c *containerd) start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(c.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	must(t, err)
	defer log.Close()
	c.cmd = exec.Command(filepath.Join(c.bin, "containerd"), "--config", filepath.Join(c.dir, "config.toml"))
	c.cmd.Env = []string{"PATH=" + filepath.Join(c.dir, "bin"), "HOME=" + filepath.Join(c.dir, "home"), "TMPDIR=" + os.TempDir()}
	c.cmd.Stdout, c.cmd.Stderr = log, log
	must(t, c.cmd.Start())
	c.pid = c.cmd.Process.Pid
	deadline := time.Now().Add(time.Minute)
	for {
		_, err := c.try(t, "default", "version")
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("containerd did not answer within a minute: %v\n%s", err, c.logged())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// stop ends containerd with a signal. Its shims keep running.
func (c *containerd) stop(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if c.cmd == nil {
		return
	}
	_ = c.cmd.Process.Signal(signal) // Signal fails only if containerd has already ended
	ended := make(chan error, 1)
	go func() { ended <- c.cmd.Wait() }()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		_ = c.cmd.Process.Kill()
		t.Errorf("containerd did not end within 30 seconds: %v", <-ended)
	}
	c.cmd = nil
	if t.Failed() {
		t.Logf("containerd's log:\n%s", c.logged())
	}
}

func (c *containerd) logged() string {
	log, _ := os.ReadFile(filepath.Join(c.dir, "log"))
	const most = 16 << 10
	return string(log[max(0, len(log)-most):])
}

// removeMounted unmounts everything below a directory, and removes the directory.
func removeMounted(t *testing.T, dir string) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], dir+"/") {
			if err := syscall.Unmount(fields[1], syscall.MNT_DETACH); err != nil {
				t.Errorf("unmount %s: %v", fields[1], err)
			}
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Error(err)
	}
}

func (c *containerd) try(t *testing.T, namespace string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, "ctr"), append([]string{"-a", c.socket, "-n", namespace}, args...)...)
	cmd.Env = []string{"HOME=" + filepath.Join(c.dir, "home"), "PATH=" + filepath.Join(c.dir, "bin")}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// ctr runs ctr, and fails the test if ctr fails.
func (c *containerd) ctr(t *testing.T, namespace string, args ...string) string {
	t.Helper()
	out, err := c.try(t, namespace, args...)
	if err != nil {
		t.Fatalf("%s ctr %s: %v\n%s", c.name, strings.Join(args, " "), err, out)
	}
	return out
}

// pulled returns the content of an image from the content store.
func (c *containerd) pulled(t *testing.T, d digest.Digest) contents {
	t.Helper()
	return contentOf(t, c.store(), d)
}

// store returns the content store as a layout: blobs have the same paths in both.
func (c *containerd) store() layout {
	return layout(filepath.Join(c.dir, "root", "io.containerd.content.v1.content"))
}

// mirror makes endpoint the mirror of a registry. It runs layoutproxy mirror-config, which writes
// the registry's hosts.toml.
func (c *containerd) mirror(t *testing.T, host, endpoint string, flags ...string) {
	t.Helper()
	run(t, program, append([]string{"mirror-config", host, "--endpoint", endpoint, "--write", c.certs}, flags...)...)
}

// namespace returns the name of the namespace for the n-th pull.
func namespace(n int) string { return "pull-" + strconv.Itoa(n) }
