//go:build full

package acceptance

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// load is a list of paths that clients request again and again.
type load struct {
	paths       []string
	connections int
	part, size  int64 // size of each range and of the blob in bytes; 0 for requests without ranges
}

// measured is the result of a measurement of a server under load.
type measured struct {
	requests, bytes int64
	cpu, wall       time.Duration // processor time that the server used, and elapsed time
}

// run sends the requests of the load to a server for a duration.
func (l load) run(t *testing.T, s target, duration time.Duration) measured {
	t.Helper()
	var m measured
	results := make([]measured, l.connections)
	before, start := cpuOf(t, s.pids), time.Now()
	var group errgroup.Group
	for i := range results {
		group.Go(func() (err error) {
			results[i], err = l.client(s.address, i, start.Add(duration))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatalf("%s: %v", s.name, err)
	}
	m.wall, m.cpu = time.Since(start), cpuOf(t, s.pids)-before
	for _, r := range results {
		m.requests, m.bytes = m.requests+r.requests, m.bytes+r.bytes
	}
	return m
}

// client sends requests on one connection, until end. It must use little processor time, because it
// shares the machine with the server.
func (l load) client(address string, number int, end time.Time) (m measured, err error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return m, err
	}
	defer conn.Close()
	random := rand.New(rand.NewPCG(7, uint64(number)))
	in := bufio.NewReaderSize(conn, 64<<10)
	for i := number; time.Now().Before(end); i++ {
		want, status := "", "200"
		if l.part > 0 {
			first := random.Int64N(l.size - l.part)
			want, status = fmt.Sprintf("Range: bytes=%d-%d\r\n", first, first+l.part-1), "206"
		}
		_, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: load\r\nAccept: %s\r\n%s\r\n", l.paths[i%len(l.paths)], address, acceptedTypes, want)
		if err != nil {
			return m, err
		}
		n, err := readHead(in, status)
		if err != nil {
			return m, fmt.Errorf("%s: %w", l.paths[i%len(l.paths)], err)
		}
		if err := discard(conn, in, n); err != nil {
			return m, err
		}
		m.requests, m.bytes = m.requests+1, m.bytes+n
	}
	return m, nil
}

// acceptedTypes is the value of the Accept header in requests for manifests.
const acceptedTypes = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, " +
	"application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json"

// readHead reads the header of a response. It returns the length of the body in bytes.
func readHead(in *bufio.Reader, status string) (n int64, err error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if f := bytes.Fields(line); len(f) < 2 || string(f[1]) != status {
		return 0, fmt.Errorf("got status line %q, want status %s", line, status)
	}
	n = -1
	for {
		if line, err = in.ReadSlice('\n'); err != nil {
			return 0, err
		}
		if len(line) <= len("\r\n") {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("Content-Length")) {
			if n, err = strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64); err != nil {
				return 0, err
			}
		}
	}
	if n < 0 {
		return 0, errors.New("no Content-Length")
	}
	return n, nil
}

// discard reads the n bytes of a body and drops them.
func discard(conn net.Conn, in *bufio.Reader, n int64) error {
	buffered, err := in.Discard(int(min(n, int64(in.Buffered()))))
	if err != nil {
		return err
	}
	_, err = io.CopyN(io.Discard, conn, n-int64(buffered))
	return err
}

// cpuOf returns the processor time that processes have used. Linux reports it in nanoseconds
// (Documentation/scheduler/sched-stats.rst).
func cpuOf(t *testing.T, pids []int) (sum time.Duration) {
	t.Helper()
	for _, pid := range pids {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		if err != nil || len(files) == 0 {
			t.Fatalf("the measured process %d has ended: %v", pid, err)
		}
		for _, f := range files {
			data, err := os.ReadFile(f)
			if errors.Is(err, os.ErrNotExist) {
				continue // the thread has ended
			}
			must(t, err)
			ns, err := strconv.ParseInt(strings.Fields(string(data))[0], 10, 64)
			must(t, err)
			sum += time.Duration(ns)
		}
	}
	return sum
}
