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

	once  sync.Once
	local *os.File // the directory, where its file system is local; from the first call of cached on
}

// cached is the directory for plainfile.OpenCached, or nil where that may not be asked.
func (s *sharedRoot) cached() *os.File {
	s.once.Do(func() { s.local = localDir(s.root) })
	return s.local
}

func (s *sharedRoot) close() {
	s.root.Close()
	if s.local != nil {
		s.local.Close()
	}
}

// localDir opens root itself, if its file system is local.
func localDir(root *os.Root) *os.File {
	dir, err := root.Open(".")
	if err != nil {
		return nil
	}
	if !plainfile.IsLocal(dir) {
		dir.Close()
		return nil
	}
	return dir
}

func isLocal(root *os.Root) bool {
	dir := localDir(root)
	if dir != nil {
		dir.Close()
	}
	return dir != nil
}

// have returns the directory dir, to be given back, or nil where it is not open.
func (r *roots) have(dir string) *sharedRoot {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.open[dir]
	if s != nil {
		s.users++
	}
	return s
}

// take returns the directory dir below parent, to be given back, or nil where it
// cannot be opened.
func (r *roots) take(parent *os.Root, dir string) *sharedRoot {
	if s := r.have(dir); s != nil {
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
		s.close()
	}
}

// remove takes a directory out of the map. The caller holds the lock.
func (r *roots) remove(dir string) {
	s := r.open[dir]
	delete(r.open, dir)
	s.out = true
	if s.users == 0 {
		s.close()
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
