package acceptance

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// airGap runs examples/air-gap, each time with an empty directory for temporary files.
type airGap struct{ registry string }

func newAirGap(t *testing.T) airGap {
	t.Helper()
	a := airGap{filepath.Join(t.TempDir(), "registry")}
	must(t, build("./examples/registry", a.registry))
	return a
}

// run runs the script, and returns its output and exit status. If interruptAt is set, run sends
// SIGINT, like Ctrl-C, when the script prints that text. The test fails if the script leaves a
// process or a file behind.
func (a airGap) run(t *testing.T, interruptAt, layoutproxy string, args ...string) (string, int) {
	t.Helper()
	dir, err := os.MkdirTemp("", "lp-") // a short name: a socket's path has at most 107 bytes
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, projectDir+"/examples/air-gap", args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "LAYOUTPROXY="+layoutproxy, "REGISTRY="+a.registry)
	// Like a terminal, the test sends signals to the script's process group. So the script gets a
	// process group of its own.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	send := func(s syscall.Signal) error { return syscall.Kill(-cmd.Process.Pid, s) }
	cmd.Cancel = func() error { return send(syscall.SIGKILL) }
	out := &interrupter{at: interruptAt, interrupt: func() { _ = send(syscall.SIGINT) }}
	cmd.Stdout, cmd.Stderr = out, out
	// A background job ignores SIGINT, and its child processes inherit this. But the test catches
	// SIGINT, so the script starts with the default action, even if the test is a background job.
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGINT)
	defer signal.Stop(caught)
	err = cmd.Run()
	if left := send(0); !errors.Is(left, syscall.ESRCH) {
		t.Errorf("the script left processes running: signal 0 to its process group returned %v, want ESRCH", left)
		_ = send(syscall.SIGKILL)
	}
	if left, _ := filepath.Glob(dir + "/*"); len(left) > 0 {
		t.Errorf("the script left the files %q behind, want none", left)
	}
	if cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.text.String(), cmd.ProcessState.ExitCode()
}

// interrupter collects output. It calls interrupt once the output contains the string at.
type interrupter struct {
	text      bytes.Buffer
	at        string
	interrupt func()
	once      sync.Once
}

func (o *interrupter) Write(p []byte) (int, error) {
	n, err := o.text.Write(p)
	if o.at != "" && strings.Contains(o.text.String(), o.at) {
		o.once.Do(o.interrupt)
	}
	return n, err
}

func TestAirGap(t *testing.T) {
	a := newAirGap(t)
	t.Run("complete", func(t *testing.T) {
		out, status := a.run(t, "", program)
		if status != 0 || !strings.Contains(out, "has crossed the air gap") {
			t.Fatalf("examples/air-gap ended with exit status %d; want exit status 0 and \"has crossed the air gap\":\n%s", status, out)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		out, status := a.run(t, "inside$ layoutproxy serve", program)
		if status != 130 || strings.Contains(out, "Is it ready?") {
			t.Errorf("the interrupted script ended with exit status %d; want exit status 130, and no step after the interrupt:\n%s", status, out)
		}
	})
	t.Run("failing program", func(t *testing.T) {
		broken := filepath.Join(t.TempDir(), "layoutproxy")
		must(t, os.WriteFile(broken, []byte("#!/bin/sh\necho broken >&2\nexit 1\n"), 0o755))
		out, status := a.run(t, "", broken)
		if status != 1 || !strings.Contains(out, "broken") || !strings.Contains(out, `air-gap: failed in "1. Two sides`) {
			t.Errorf("the script ended with exit status %d; want exit status 1, \"broken\" from the program, and \"failed in\" step 1:\n%s", status, out)
		}
	})
}
