package volume

import (
	"os"
	"path/filepath"
	"sync"

	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// maxRoots is the maximum number of blob directories that a Dir keeps open between requests. Each
// needs a file descriptor.
const maxRoots = 256

// openDirs keeps directories open and shares them. Opening a blob in an open directory takes a
// third of the time of opening it by its complete path.
type openDirs struct {
	mu   sync.Mutex
	open map[string]*sharedRoot
}

// sharedRoot is an open directory. It is closed when it is out of the map and nobody uses it.
type sharedRoot struct {
	root  *os.Root
	users int
	out   bool

	once  sync.Once
	local *os.File // the open directory, or nil if its file system is not local; set by the first call of cached
}

// cached returns the directory for plainfile.OpenCached. It returns nil if the file system is not local.
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

// localDir opens the directory root itself. It returns nil if the file system is not local.
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

// takeOpen returns the directory dir if it is open, and nil otherwise. The caller must give it back.
func (r *openDirs) takeOpen(dir string) *sharedRoot {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.open[dir]
	if s != nil {
		s.users++
	}
	return s
}

// take returns the directory dir below parent. It returns nil if dir cannot be opened. The caller
// must give it back.
func (r *openDirs) take(parent *os.Root, dir string) *sharedRoot {
	if s := r.takeOpen(dir); s != nil {
		return s
	}
	root, err := plainfile.OpenRootIn(parent, filepath.FromSlash(dir)) // done without the lock, because the disk may hang
	if err != nil {
		return nil
	}
	fresh := &sharedRoot{root: root, users: 1}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.open[dir]; s != nil { // another goroutine has opened it meanwhile
		s.users++
		root.Close()
		return s
	}
	if len(r.open) >= maxRoots {
		for other := range r.open { // remove any one, because it does not matter which
			r.remove(other)
			break
		}
	}
	r.open[dir] = fresh
	return fresh
}

func (r *openDirs) give(s *sharedRoot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s.users--
	if s.out && s.users == 0 {
		s.close()
	}
}

// remove removes a directory from the map. The caller must hold the lock.
func (r *openDirs) remove(dir string) {
	s := r.open[dir]
	delete(r.open, dir)
	s.out = true
	if s.users == 0 {
		s.close()
	}
}

// closeAll removes all directories from the map. So directories that were replaced are opened again.
func (r *openDirs) closeAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for dir := range r.open {
		r.remove(dir)
	}
}
