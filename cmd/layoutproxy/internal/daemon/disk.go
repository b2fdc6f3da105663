package daemon

import (
	"context"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/durable"
	"github.com/layoutproxy/layoutproxy/layoutstore/wait"
)

// diskStatus is the free space of a file system that the server writes to.
type diskStatus struct {
	Path  string `json:"path"` // a directory on it
	Free  int64  `json:"free"` // bytes that this user may write
	Total int64  `json:"total"`
}

// disks are the file systems of some directories. They are asked at most every few seconds, and
// none is waited for: one that hangs is left out until it answers.
type disks struct {
	paths []string
	now   func() time.Time

	mu    sync.Mutex
	asked time.Time
	last  []diskStatus
}

// disksEvery is how often the file systems are asked.
const disksEvery = 5 * time.Second

// diskPatience is how long they are waited for.
const diskPatience = 200 * time.Millisecond

func newDisks(paths ...string) *disks {
	paths = slices.DeleteFunc(paths, func(p string) bool { return p == "" })
	return &disks{paths: paths, now: time.Now}
}

// status returns the free space of each file system once.
func (d *disks) status(ctx context.Context) []diskStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := d.now(); d.asked.IsZero() || now.Sub(d.asked) >= disksEvery {
		d.asked = now
		ctx, cancel := context.WithTimeout(ctx, diskPatience)
		defer cancel()
		found, err := wait.For(ctx, func() ([]diskStatus, error) { return freeSpace(d.paths), nil }, nil)
		if err == nil {
			d.last = found
		}
	}
	return append([]diskStatus{}, d.last...)
}

// freeSpace returns the free space of the file systems of directories, each once.
func freeSpace(dirs []string) (all []diskStatus) {
	seen := map[any]bool{}
	for _, dir := range dirs {
		f, err := os.Open(dir)
		if err != nil {
			continue
		}
		space, err := durable.SpaceOf(f)
		f.Close()
		if err != nil || space.ID != nil && seen[space.ID] {
			continue
		}
		seen[space.ID] = true
		all = append(all, diskStatus{dir, space.Free, space.Total})
	}
	return all
}
