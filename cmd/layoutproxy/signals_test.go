package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// bigBlob returns a tree with a blob that is too large for the buffers of a connection.
func bigBlob(t *testing.T) (dir string, d digest.Digest) {
	dir = t.TempDir()
	l := layouttest.New(t, dir).Layout("big")
	d = l.Blob("application/octet-stream", bytes.Repeat([]byte("0123456789abcdef"), 4<<20)).Digest
	l.Write()
	return dir, d
}

// stall starts to download a blob and stops after the first byte. It returns the rest of the body.
func stall(t *testing.T, p *process, d digest.Digest) *bufio.Reader {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + p.addresses["registry"] + "/v2/big/blobs/" + string(d))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	body := bufio.NewReaderSize(resp.Body, 16)
	if _, err := body.ReadByte(); err != nil {
		t.Fatal(err)
	}
	return body
}

// draining waits until /readyz reports that the server is stopping.
func draining(t *testing.T, p *process) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		resp, err := http.Get("http://" + p.addresses["admin"] + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusServiceUnavailable {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("/readyz: got no status 503 within a minute, want one while the server stops")
}

// refuses waits until the server accepts no new connections. This happens soon after the server has
// reported that it is stopping.
func refuses(t *testing.T, p *process) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		conn, err := net.Dial("tcp", p.addresses["registry"])
		if err != nil {
			return
		}
		conn.Close()
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the server accepted new connections for a minute while it was stopping, want none")
}

func TestRunningTransferCompletesAfterSIGTERM(t *testing.T) {
	t.Parallel()
	dir, d := bigBlob(t)
	p := start(t, "--shutdown-timeout", "1m", dir)
	body := stall(t, p, d)
	p.signal(t, syscall.SIGTERM)
	draining(t, p)
	refuses(t, p)
	rest, err := io.ReadAll(body)
	if err != nil || len(rest) != 64<<20-1 {
		t.Errorf("rest of the running download: got %d bytes, error %v; want the rest of the blob, no error", len(rest), err)
	}
	if err := <-p.ended; err != nil {
		t.Errorf("the server ended with %v, want exit status 0", err)
	}
}

func TestSecondSignalEndsServerAtOnce(t *testing.T) {
	t.Parallel()
	dir, d := bigBlob(t)
	p := start(t, "--shutdown-timeout", "1h", dir)
	body := stall(t, p, d)
	p.signal(t, syscall.SIGTERM)
	draining(t, p)
	p.signal(t, syscall.SIGTERM)
	if err := <-p.ended; err != nil {
		t.Errorf("the server ended with %v, want exit status 0", err)
	}
	if n, err := io.Copy(io.Discard, body); err == nil {
		t.Errorf("the transfer ended after %d bytes without an error, want one", n)
	}
}

func TestShutdownTimeoutCutsTransfers(t *testing.T) {
	t.Parallel()
	dir, d := bigBlob(t)
	p := start(t, "--shutdown-timeout", "50ms", dir)
	body := stall(t, p, d)
	p.signal(t, syscall.SIGTERM)
	if err := <-p.ended; err != nil {
		t.Errorf("the server ended with %v, want exit status 0", err)
	}
	if n, err := io.Copy(io.Discard, body); err == nil {
		t.Errorf("the transfer ended after %d bytes without an error, want one", n)
	}
}
