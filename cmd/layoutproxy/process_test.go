package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// process is a running layoutproxy serve.
type process struct {
	*exec.Cmd
	addresses map[string]string
	ended     chan error
}

// start runs `layoutproxy serve` with args, and returns when it listens.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	name := filepath.Join(dir, "layoutproxy") // TestMain runs main if the test program has this name.
	if err := os.Symlink(self, name); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "addresses")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	p := &process{ended: make(chan error, 1), addresses: map[string]string{}}
	p.Cmd = exec.CommandContext(ctx, name, append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--address-file", file}, args...)...)
	p.Env = ownDirectories(t)
	var log bytes.Buffer
	p.Stderr = &log
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.Wait() }()
	for {
		if data, err := os.ReadFile(file); err == nil {
			for line := range strings.Lines(string(data)) {
				key, address, _ := strings.Cut(strings.TrimSpace(line), "=")
				p.addresses[key] = address
			}
			return p
		}
		select {
		case err := <-p.ended:
			t.Fatalf("layoutproxy ended with %v before it listened, want it to listen\n%s", err, log.String())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// ownDirectories returns this process's environment, but with new, empty directories for cache and state.
func ownDirectories(t *testing.T) []string {
	t.Helper()
	return append(os.Environ(), "XDG_CACHE_HOME="+t.TempDir(), "XDG_STATE_HOME="+t.TempDir())
}

func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "layoutproxy") // TestMain runs main if the test program has this name.
	if err := os.Symlink(self, name); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = ownDirectories(t)
	return cmd
}
