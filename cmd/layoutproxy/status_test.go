package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// status --watch prints the status, and exits with 0 after Ctrl-C.
func TestStatusWatchEndsWithCtrlC(t *testing.T) {
	dir := t.TempDir()
	layouttest.Publish(t, dir, "app", "v1")
	p := start(t, dir)
	watch := program(t, "status", p.addresses["admin"], "--watch")
	out, err := watch.StdoutPipe()
	layouttest.Try(t, err)
	layouttest.Try(t, watch.Start())
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("status --watch prints nothing, want the status")
	}
	layouttest.Try(t, watch.Process.Signal(os.Interrupt))
	for lines.Scan() {
	}
	if err := watch.Wait(); err != nil {
		t.Errorf("after Ctrl-C, status --watch ended with %v, want exit status 0", err)
	}
}

// For the same problems, status and list exit with the same status. Both print harmless problems and
// conflicts, which do not change the exit status.
func TestStatusEndsLikeList(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(dir string)
		problem string
		want    int
	}{
		"intact": {func(string) {}, "", 0},
		"bytes after the end of an archive": {func(dir string) {
			archive := filepath.Join(dir, "installer.tar")
			data, err := os.ReadFile("testdata/d8/installer.tar")
			layouttest.Try(t, err)
			layouttest.Try(t, os.WriteFile(archive, append(data, "not a tar header"...), 0o644))
		}, "limited: ", 0},
		"two contents for a tag": {func(dir string) {
			tree := layouttest.New(t, t.TempDir())
			l := tree.Layout("app")
			l.Tag(l.Image(layouttest.Image{Name: "another", LayerSizes: []int64{10}}), "v1")
			l.Write()
			tree.Archive(filepath.Join(dir, "a.tar"), layouttest.Archive{})
		}, "conflict: ", 0},
		"a truncated archive": {func(dir string) {
			data, err := os.ReadFile("testdata/d8/installer.tar")
			layouttest.Try(t, err)
			layouttest.Try(t, os.WriteFile(filepath.Join(dir, "installer.tar"), data[:len(data)/2], 0o644))
		}, "incomplete: ", 3},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			layouttest.Publish(t, dir, "app", "v1")
			c.change(dir)
			p := start(t, "--settle", "0s", dir)
			waitChecked(t, p)
			for _, args := range [][]string{{"list", dir}, {"status", p.addresses["admin"]}} {
				cmd := program(t, args...)
				out, err := cmd.CombinedOutput()
				var ended *exec.ExitError
				if err != nil && !errors.As(err, &ended) {
					t.Fatal(err)
				}
				if got := cmd.ProcessState.ExitCode(); got != c.want || !strings.Contains(string(out), c.problem) {
					t.Errorf("%s ends with %d, want %d and %q:\n%s", args[0], got, c.want, c.problem, out)
				}
			}
		})
	}
}

// If a server refuses the host name, wants TLS or is busy, the message says so. It does not say that the server is not a layoutproxy.
func TestStatusNamesWhyAServerRefuses(t *testing.T) {
	dir := t.TempDir()
	layouttest.Publish(t, dir, "app", "v1")
	p := start(t, dir)
	named := program(t, "status", "http://status.example:5580")
	named.Env = append(named.Env, "HTTP_PROXY=http://"+p.addresses["admin"])
	encrypted := httptest.NewTLSServer(http.NotFoundHandler()) // A request without TLS gets 400: net/http, server.go, func (*conn) serve.
	t.Cleanup(encrypted.Close)
	plain := program(t, "status", strings.Replace(encrypted.URL, "https://", "http://", 1))
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "too many passwords", http.StatusTooManyRequests) // as the login of the admin address does: registry/auth
	}))
	t.Cleanup(busy.Close)
	later := program(t, "status", busy.URL)
	for want, cmd := range map[string]*exec.Cmd{"hint: name the IP address of the server, ": named, "use https://": plain, "hint: try again": later} {
		out, _ := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != 1 || !strings.Contains(string(out), want) || strings.Contains(string(out), "not the admin address") {
			t.Errorf("%q ends with %d, want 1 and %q:\n%s", cmd.Args[1:], got, want, out)
		}
	}
}

// waitChecked waits until a server has checked its sources.
func waitChecked(t *testing.T, p *process) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		out, _ := program(t, "status", p.addresses["admin"], "--output", "json").Output()
		if bytes.Contains(out, []byte(`"checked": true`)) {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("within a minute, /status did not report \"checked\": true, got %s", out)
		}
	}
}
