package acceptance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// server is a running layoutproxy. registry and admin are the addresses of its two APIs.
type server struct {
	registry, admin string
	pid             int
	end             func() // stops the server now, not at the end of the test
}

// serve runs layoutproxy serve on free ports, until the test ends.
func serve(t *testing.T, dir string, flags ...string) server {
	t.Helper()
	return serveUnder(t, nil, dir, flags...)
}

// serveUnder is like serve, but starts the program through a command such as strace -D. The process
// of the command must become the program, as with exec.
func serveUnder(t *testing.T, command []string, dir string, flags ...string) server {
	t.Helper()
	addresses := filepath.Join(t.TempDir(), "addresses")
	args := append(append(command, program,
		"serve", dir, "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--address-file", addresses,
	), flags...)
	cmd := exec.Command(args[0], args[1:]...)
	var log bytes.Buffer // do not read it before cmd.Wait returns: that is a data race
	cmd.Stdout, cmd.Stderr = &log, &log
	must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	end := sync.OnceFunc(func() { stop(t, cmd.Process, ended, &log) })
	t.Cleanup(end)
	s := waitFor(t, addresses, ended)
	s.pid, s.end = cmd.Process.Pid, end
	return s
}

// waitFor waits until the server has written its address file, and reads the file.
func waitFor(t *testing.T, addresses string, ended chan error) (s server) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		if data, err := os.ReadFile(addresses); err == nil {
			for line := range strings.Lines(string(data)) {
				name, address, _ := strings.Cut(strings.TrimSpace(line), "=")
				switch name {
				case "registry":
					s.registry = address
				case "admin":
					s.admin = address
				}
			}
			if s.registry == "" || s.admin == "" {
				t.Fatalf("got address file %q, want the addresses registry and admin", data)
			}
			return s
		}
		select {
		case err := <-ended:
			ended <- err // put the error back, because stop also reads it
			t.Fatalf("layoutproxy ended before it listened: %v", err)
		case <-deadline:
			t.Fatal("layoutproxy did not listen within 30 seconds")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// stop ends the server with SIGTERM. It fails the test unless the exit status is 0.
func stop(t *testing.T, process *os.Process, ended <-chan error, log *bytes.Buffer) {
	_ = process.Signal(syscall.SIGTERM) // Signal fails only if the server has already ended
	var err error
	select {
	case err = <-ended:
	case <-time.After(40 * time.Second): // longer than --shutdown-timeout
		_ = process.Kill()
		err = fmt.Errorf("it did not end within 40 seconds, and the test killed it: %w", <-ended)
	}
	if err != nil {
		t.Errorf("layoutproxy: %v", err)
	}
	if t.Failed() {
		t.Logf("layoutproxy's log:\n%s", log)
	}
}

// rescan makes the server rescan its sources, and waits for the end of the rescan.
func (s server) rescan(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+s.admin+"/rescan", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("rescan: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("rescan: got status %s and body %q, want status 200 (error reading the body: %v)", resp.Status, body, err)
	}
	return nil
}

// healthy waits, for at most a minute, until a URL answers 200 or the program ends.
func healthy(ctx context.Context, url string, ended chan error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case err := <-ended:
			ended <- err
			return errors.Join(errors.New("the program has ended"), err)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
