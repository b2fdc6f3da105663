package acceptance

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// The kernel copies a blob from its file directly to the socket, also from the middle of an archive
// and across chunks. strace shows that user space reads and writes only the request and the header
// of the response.
func TestBlobsDoNotPassThroughUserSpace(t *testing.T) {
	const size = 16 << 20
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("big")
	blob := l.Blob("application/octet-stream", bytes.Repeat([]byte("0123456789abcdef"), size/16))
	l.Write()
	archive, chunks := filepath.Join(t.TempDir(), "big.tar"), filepath.Join(t.TempDir(), "big.tar")
	tree.Archive(archive, layouttest.Archive{})
	tree.Archive(chunks, layouttest.Archive{})
	layouttest.Split(t, chunks, 5<<20)
	for form, source := range map[string]string{"tree": tree.Dir(), "archive": archive, "chunks": filepath.Dir(chunks)} {
		s := serve(t, source, "--root-repository", "", "--rescan", "0", "--cache-dir", "", "--access-log", "--htpasswd", htpasswdFile(t),
			"--trace-endpoint", "http://127.0.0.1:1")
		url := "http://" + user + ":" + password + "@" + s.registry + "/v2/big/blobs/" + string(blob.Digest)
		fetch(t, url, "", size) // not traced: the first request also reads other files

		for name, c := range map[string]struct {
			ranges string
			want   int64
		}{
			"complete":     {"", size},
			"open range":   {"bytes=1000000-", size - 1000000},
			"closed range": {"bytes=5-8388612", 8 << 20},
			"suffix":       {"bytes=-1048576", 1 << 20},
		} {
			t.Run(form+", "+name, func(t *testing.T) {
				calls := traced(t, s.pid, func() { fetch(t, url, c.ranges, c.want) })
				copied, sent := calls.bytes(copying), calls.bytes(sending)
				// The log, the export of traces and checks of the htpasswd file also copy some bytes. A
				// copy of the content would need buffers of 32 KiB.
				if copied >= 16<<10 {
					t.Errorf("%d bytes passed through user space, want less than 16 KiB; system calls:\n%s", copied, strings.Join(calls, "\n"))
				}
				// net/http itself copies the first 512 bytes, to detect the content type.
				// layoutproxy itself copies the last 512 bytes of an entry in an archive, after it
				// has checked the file.
				if sent < c.want-2*512 {
					t.Errorf("the kernel sent %d bytes directly from the file, want at least %d", sent, c.want-2*512)
				}
			})
		}
	}
}

var (
	copying = []string{"read", "pread64", "readv", "preadv", "recvfrom", "recvmsg", "write", "pwrite64", "writev", "pwritev", "sendto", "sendmsg"}
	sending = []string{"sendfile", "splice", "copy_file_range"}
)

// fetch downloads a URL, or a range of it if ranges is not empty. It checks the number of bytes.
func fetch(t *testing.T, url, ranges string, want int64) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	must(t, err)
	if ranges != "" {
		req.Header.Set("Range", ranges)
	}
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	must(t, err)
	defer resp.Body.Close()
	if n, err := io.Copy(io.Discard, resp.Body); n != want || err != nil {
		t.Fatalf("status %s, range %q: got %d bytes and error %v, want %d bytes", resp.Status, ranges, n, err, want)
	}
}

// calls are lines that strace printed, each with a system call.
type calls []string

var traceLine = regexp.MustCompile(`(?:^|\s)(\w+)(?:\(| resumed>).*\)\s+= (\d+)`)

// bytes adds up the results of the named system calls: the number of bytes that they moved.
func (c calls) bytes(names []string) (sum int64) {
	for _, line := range c {
		m := traceLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if slices.Contains(names, m[1]) {
			n, _ := strconv.ParseInt(m[2], 10, 64) // digits
			sum += n
		}
	}
	return sum
}

// traced runs do, and returns the system calls by which a process moved bytes during that time.
// Some calls move 8 bytes only to wake up Go's scheduler.
func traced(t *testing.T, pid int, do func()) calls {
	t.Helper()
	file := filepath.Join(t.TempDir(), "trace")
	cmd := exec.CommandContext(t.Context(), packaged(t, "strace"), "-f", "-e", "signal=none",
		"-e", "trace="+strings.Join(slices.Concat(copying, sending), ","), "-o", file, "-p", fmt.Sprint(pid))
	stderr, err := cmd.StderrPipe()
	must(t, err)
	must(t, cmd.Start())
	said := bufio.NewScanner(stderr)
	if !said.Scan() || !strings.Contains(said.Text(), "attached") {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		t.Fatalf("strace printed %q first, want a line with \"attached\"", said.Text())
	}
	go io.Copy(io.Discard, stderr)
	do()
	_ = cmd.Process.Signal(os.Interrupt) // makes strace detach and exit
	_ = cmd.Wait()
	data := layouttest.ReadFile(t, file)
	return strings.Split(string(data), "\n")
}
