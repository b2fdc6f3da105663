package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// Sources, roots and credentials change back and forth under load. No request fails, and running
// downloads complete.
func TestHangupFailsNoRequest(t *testing.T) {
	dir, d := bigBlob(t)
	other, more := t.TempDir(), t.TempDir()
	layouttest.Publish(t, other, "install", "v1")
	layouttest.Publish(t, more, "release", "v1")
	work := t.TempDir()
	config := filepath.Join(work, "config.yaml")
	for _, name := range []string{"one", "two"} { // both files contain the same user
		layouttest.Try(t, os.WriteFile(filepath.Join(work, name), []byte("frodo:$2y$05$926C3y10Quzn/LnqQH86VOEVh/18T6RnLaS.khre96jLNL/7e.K5W\n"), 0o600))
	}
	write := func(i int) {
		names := []string{"one", "two"}
		sources := []string{fmt.Sprintf("[%s, %s]", dir, other), fmt.Sprintf("[{path: %s, root-repository: own}, %s, %s]", more, other, dir)}
		text := fmt.Sprintf("root-repository: ''\nsources: %s\nhtpasswd: %s\n", sources[i%2], filepath.Join(work, names[i%2]))
		layouttest.Try(t, os.WriteFile(config+".new", []byte(text), 0o644))
		layouttest.Try(t, os.Rename(config+".new", config))
	}
	write(0)
	p := start(t, "--config", config)
	url := "http://frodo:baggins@" + p.addresses["registry"]
	p.addresses["registry"] = "frodo:baggins@" + p.addresses["registry"] // stall needs the login in the address.
	body := stall(t, p, d)

	stop := make(chan struct{})
	var asked, failed atomic.Int64
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				asked.Add(1)
				resp, err := http.Get(url + "/v2/install/manifests/v1")
				if err != nil {
					failed.Add(1)
					continue
				}
				_, err = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusOK {
					failed.Add(1)
				}
			}
		})
	}
	const changes = 10
	for i := 1; i <= changes; i++ {
		write(i)
		p.signal(t, syscall.SIGHUP)
		want := map[int]int{0: 404, 1: 200}[i%2]
		layouttest.Eventually(t, "the server uses the changed sources", func() bool { return registrytest.StatusOf(url+"/v2/own/release/manifests/v1") == want })
	}
	close(stop)
	clients.Wait()
	t.Logf("%d requests during %d changes", asked.Load(), changes)
	if failed.Load() > 0 || asked.Load() < changes {
		t.Errorf("%d of %d requests failed, want no failure and at least one request per change", failed.Load(), asked.Load())
	}
	if rest, err := io.ReadAll(body); err != nil || len(rest) != 64<<20-1 {
		t.Errorf("rest of the running download: got %d bytes, error %v; want the rest of the blob, no error", len(rest), err)
	}
	p.signal(t, syscall.SIGTERM)
	if err := <-p.ended; err != nil {
		t.Errorf("the server ended with %v, want exit status 0", err)
	}
}
