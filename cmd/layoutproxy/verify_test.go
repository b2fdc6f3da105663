package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// endless returns a tree with a sparse file as a blob of 1 TiB. Reading the blob takes a long time.
func endless(t *testing.T) string {
	t.Helper()
	const size = 1 << 40
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("a")
	d := digest.FromString("endless")
	if err := os.MkdirAll(filepath.Dir(l.BlobPath(d)), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(l.BlobPath(d))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	l.Add(ocispec.Descriptor{MediaType: "application/octet-stream", Digest: d, Size: size})
	l.Write()
	return tree.Dir()
}

func TestInterruptedVerifyPrintsNoReport(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(t.TempDir(), "layoutproxy") // TestMain runs main if the test program has this name.
		if err := os.Symlink(self, name); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, name, "verify", "--log-level", "debug", endless(t))
		var stdout bytes.Buffer
		cmd.Stdout = &stdout
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(stderr)
		for lines.Scan() && !strings.Contains(lines.Text(), "verifying") {
		}
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		var last string
		for lines.Scan() {
			last = lines.Text()
		}
		var ended *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &ended) || ended.ExitCode() != 130 {
			t.Errorf("after signal %v, verify ends with %v, want exit status 130", signal, err)
		}
		if !strings.Contains(last, "interrupted") || stdout.Len() > 0 {
			t.Errorf("after signal %v, the last log line is %q, want \"interrupted\"; standard output is %q, want nothing", signal, last, stdout.String())
		}
	}
}
