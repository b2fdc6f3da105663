package containerd_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/layoutproxy/layoutproxy/registry/containerd"
)

// containerd uses the first directory that exists, whatever it contains (hostPaths in its
// core/remotes/docker/config/hosts.go). A directory without hosts.toml would hide the hosts.toml of
// _default. So a directory without hosts.toml must never exist, not even for a moment or after the
// process was killed.
func TestDirectoryAlwaysHasHostsFile(t *testing.T) {
	certs := t.TempDir()
	var current atomic.Pointer[string]
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			default:
			}
			dir := current.Load()
			if dir == nil {
				continue
			}
			// Each directory is created once and removed once. So if the directory exists before
			// and after this check, the file must exist too.
			if !exists(*dir) || exists(filepath.Join(*dir, "hosts.toml")) || !exists(*dir) {
				continue
			}
			t.Errorf("%s exists without its hosts.toml, want both or none", *dir)
			return
		}
	}()
	for n := range 20 {
		host := fmt.Sprintf("r%d.example", n)
		dir := filepath.Join(certs, host)
		current.Store(&dir)
		m := mirror(t, func(o *containerd.MirrorOptions) { o.Host = host })
		write(t, m, certs, "created")
		remove(t, certs, host, "removed")
	}
	close(done)
	<-ended
	if left, err := os.ReadDir(certs); err != nil || len(left) > 0 {
		t.Errorf("after the removals, certs.d contains %v (error %v), want an empty directory", left, err)
	}
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}
