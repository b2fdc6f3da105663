package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// startVictim starts layoutproxy with a small tree. It returns the process and the paths of two
// URLs in the tree: a manifest and a one-megabyte blob.
func startVictim(t *testing.T, args ...string) (p *process, manifest, blob string) {
	t.Helper()
	dir := t.TempDir()
	l := layouttest.New(t, dir).Layout("app")
	d := l.Blob("application/octet-stream", bytes.Repeat([]byte("0123456789abcdef"), 64<<10)).Digest
	l.Tag(l.Image(layouttest.Image{Name: "v1", LayerSizes: []int64{2000}}), "v1")
	l.Write()
	p = start(t, append(args, "--root-repository", "", dir)...)
	t.Cleanup(func() {
		p.signal(t, syscall.SIGTERM)
		if err := <-p.ended; err != nil {
			t.Errorf("the server ended with the error %v, want none", err)
		}
	})
	return p, "/v2/app/manifests/v1", "/v2/app/blobs/" + string(d)
}

// peak returns the peak memory use of the process, in bytes.
func (p *process) peak(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kilobytes, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

// bounded fails the test if the peak memory of the process is more than limit bytes above an earlier peak.
func (p *process) bounded(t *testing.T, before, limit int64) {
	t.Helper()
	grown := p.peak(t) - before
	t.Logf("peak memory has grown by %d MB", grown>>20)
	if grown > limit {
		t.Errorf("peak memory has grown by %d bytes, want at most %d", grown, limit)
	}
}

// served sends n requests, each from a new client on its own connection, half of them without keep-alive.
// It fails the test unless each response is complete and has the status 200.
func (p *process) served(t *testing.T, path string, n int) {
	t.Helper()
	good := 0
	for i := range n {
		client := &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{DisableKeepAlives: i%2 == 0}}
		resp, err := client.Get("http://" + p.addresses["registry"] + path)
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := io.Copy(io.Discard, resp.Body); err == nil && resp.StatusCode == http.StatusOK {
			good++
		}
		resp.Body.Close()
		client.CloseIdleConnections()
	}
	if good != n {
		t.Errorf("%d of %d requests of another client were answered, want all", good, n)
	}
}

func (p *process) dial(t *testing.T) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", p.addresses["registry"])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

// The server disconnects a client that sends its headers byte by byte, but no other clients.
func TestClientsWithSlowHeadersAreCutOff(t *testing.T) {
	t.Parallel()
	const clients = 200
	p, manifest, _ := startVictim(t)
	before := p.peak(t)
	var cut atomic.Int64
	var all sync.WaitGroup
	for range clients {
		conn := p.dial(t)
		all.Go(func() {
			fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n")
			// This takes about a minute, several times as long as the server waits for headers.
			for range 300 {
				if _, err := fmt.Fprint(conn, "X"); err != nil {
					cut.Add(1)
					return
				}
				err := conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
				if err == nil {
					_, err = conn.Read(make([]byte, 1))
				}
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					cut.Add(1)
					return
				}
			}
		})
	}
	p.served(t, manifest, 100)
	all.Wait()
	if cut.Load() != clients {
		t.Errorf("%d of %d slow clients were disconnected, want all", cut.Load(), clients)
	}
	p.bounded(t, before, 64<<20)
}

func TestIdleConnectionsNeedLittleMemory(t *testing.T) {
	t.Parallel()
	const clients = 2000
	p, manifest, _ := startVictim(t)
	before := p.peak(t)
	answered := 0
	for range clients {
		conn := p.dial(t)
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", manifest)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil && resp.StatusCode == http.StatusOK {
			answered++
		}
	}
	if answered != clients {
		t.Errorf("%d of %d clients were answered, want all", answered, clients)
	}
	p.served(t, manifest, 100)
	p.bounded(t, before, clients*128<<10) // without the race detector, a sixth of this memory is enough
}

func TestPipelinedRequestsNeedLittleMemory(t *testing.T) {
	t.Parallel()
	const requests, answered = 10_000, 2_000
	p, manifest, blob := startVictim(t)
	before := p.peak(t)
	// This client sends requests, but reads no responses.
	deaf := p.dial(t)
	go io.Copy(deaf, strings.NewReader(strings.Repeat("GET "+blob+" HTTP/1.1\r\nHost: x\r\n\r\n", requests))) // Copy ends when the connection is closed.

	conn := p.dial(t)
	go io.Copy(conn, strings.NewReader(strings.Repeat("GET "+manifest+" HTTP/1.1\r\nHost: x\r\n\r\n", answered)))
	answers := bufio.NewReader(conn)
	for i := range answered {
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatalf("response %d: reading the headers returned the error %v, want none", i, err)
		}
		if n, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK || n != resp.ContentLength {
			t.Fatalf("response %d has status %s and a body of %d bytes (error: %v), want 200 and the announced length", i, resp.Status, n, err)
		}
	}
	p.served(t, manifest, 100)
	p.bounded(t, before, 64<<20)
}

func TestHugeHeadersAreRefused(t *testing.T) {
	t.Parallel()
	const clients = 50
	p, manifest, _ := startVictim(t)
	before := p.peak(t)
	refused := 0
	for i := range clients {
		conn := p.dial(t)
		request := "GET " + manifest + " HTTP/1.1\r\nHost: x\r\nX-Large: " + strings.Repeat("a", 1<<20) + "\r\n\r\n"
		if i%2 == 0 {
			request = "GET /v2/" + strings.Repeat("a/", 1<<19) + "manifests/v1 HTTP/1.1\r\nHost: x\r\n\r\n"
		}
		go io.WriteString(conn, request) // The server stops reading before the end.
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil && resp.StatusCode == http.StatusRequestHeaderFieldsTooLarge {
			refused++
		}
	}
	if refused != clients {
		t.Errorf("%d of %d requests with a header of one megabyte were refused, want all", refused, clients)
	}
	p.served(t, manifest, 100)
	p.bounded(t, before, 64<<20)
}

// layoutproxy limits a client that sends too many requests, and serves the other clients as before.
// Clients behind a trusted proxy are distinguished by X-Forwarded-For.
func TestEachClientHasItsOwnLimit(t *testing.T) {
	t.Parallel()
	p, manifest, _ := startVictim(t, "--client-rate", "0.001", "--client-burst", "10", "--client-connections", "20", "--trusted-proxy", "127.0.0.2")
	count := func(n int, from string, header http.Header) map[int]int {
		codes := map[int]int{}
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		client := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext}}
		defer client.CloseIdleConnections()
		for range n {
			req, err := http.NewRequest("GET", "http://"+p.addresses["registry"]+manifest, nil)
			layouttest.Try(t, err)
			req.Header = header
			resp, err := client.Do(req)
			layouttest.Try(t, err)
			_, err = io.Copy(io.Discard, resp.Body)
			layouttest.Try(t, err)
			resp.Body.Close()
			codes[resp.StatusCode]++
		}
		return codes
	}
	for _, c := range []struct {
		from, forwarded string
	}{
		{"127.0.0.1", ""},
		{"127.0.0.3", "198.51.100.9"}, // from an untrusted proxy, so X-Forwarded-For is ignored
		{"127.0.0.2", "198.51.100.1"},
		{"127.0.0.2", "198.51.100.2"},
	} {
		header := http.Header{}
		if c.forwarded != "" {
			header.Set("X-Forwarded-For", c.forwarded)
		}
		if codes := count(50, c.from, header); codes[200] != 10 || codes[429] != 40 {
			t.Errorf("client %v: responses per status are %v, want 10 with 200 and 40 with 429", c, codes)
		}
	}
	if codes := count(5, "127.0.0.3", http.Header{"X-Forwarded-For": {"198.51.100.10"}}); codes[429] != 5 {
		t.Errorf("5 more requests with a different X-Forwarded-For: responses per status are %v, want 5 with 429", codes)
	}
	// A client may have 20 open connections. layoutproxy closes its further connections.
	stay := 0
	for range 100 {
		conn := p.dial(t)
		fmt.Fprint(conn, "GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
			stay++
		}
	}
	if stay < 19 || stay > 20 { // If a connection of the requests above is still open, only 19 others may stay open.
		t.Errorf("%d of 100 connections of one client stayed open, want 19 or 20", stay)
	}
	resp, err := http.Get("http://" + p.addresses["admin"] + "/metrics")
	layouttest.Try(t, err)
	body, err := io.ReadAll(resp.Body)
	layouttest.Try(t, err)
	resp.Body.Close()
	if !bytes.Contains(body, []byte("layoutproxy_connections_refused_total "+strconv.Itoa(100-stay))) {
		t.Errorf("/metrics: got %s, want layoutproxy_connections_refused_total %d", body, 100-stay)
	}
}
