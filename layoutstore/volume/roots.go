package volume

import (
	"os"
	"path/filepath"
	"sync"

	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// maxRoots bounds the blob directories that a Dir keeps open, and with them the
// file descriptors that it holds between requests.
const maxRoots = 256

// roots are directories that are opened once and shared: to open a blob through
// one costs a third of an open through all segments of its path.
type roots struct {
	mu   sync.Mutex
	open map[string]*sharedRoot
}

// sharedRoot is closed when it is out of the map and nobody uses it.
type sharedRoot struct {
	root  *os.Root
	users int
	out   bool
}

// take returns the directory dir below parent, to be given back, or nil where it
// cannot be opened.
func (r *roots) take(parent *os.Root, dir string) *sharedRoot {
	r.mu.Lock()
	s := r.open[dir]
	if s != nil {
		s.users++
	}
	r.mu.Unlock()
	if s != nil {
		return s
	}
	root, err := plainfile.OpenRootIn(parent, filepath.FromSlash(dir)) // not under the lock: a disk may hang
	if err != nil {
		return nil
	}
	fresh := &sharedRoot{root: root, users: 1}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.open[dir]; s != nil { // somebody was faster
		s.users++
		root.Close()
		return s
	}
	if len(r.open) >= maxRoots {
		for other := range r.open { // any one: the map's order is as good as another
			r.remove(other)
			break
		}
	}
	r.open[dir] = fresh
	return fresh
}

func (r *roots) give(s *sharedRoot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.users--
	if s.out && s.users == 0 {
		s.root.Close()
	}
}

// remove takes a directory out of the map. The caller holds the lock.
func (r *roots) remove(dir string) {
	s := r.open[dir]
	delete(r.open, dir)
	s.out = true
	if s.users == 0 {
		s.root.Close()
	}
}

// forget lets go of all directories, so that ones that were replaced are found anew.
func (r *roots) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for dir := range r.open {
		r.remove(dir)
	}
}
