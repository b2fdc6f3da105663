package daemon

import (
	"context"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/settings"
	"github.com/layoutproxy/layoutproxy/layoutstore/durable"
	"github.com/layoutproxy/layoutproxy/layoutstore/wait"
	"github.com/layoutproxy/layoutproxy/registry/page"
)

// disks reports the free space of the file systems that contain paths. It queries them at most once
// per disksEvery. While a file system hangs, disks returns the result of the previous query.
type disks struct {
	paths []string

	mu    sync.Mutex
	asked time.Time
	last  []page.Disk
}

// disksEvery is the minimum time between two queries of the file systems.
const disksEvery = 5 * time.Second

// diskPatience is how long a query may take.
const diskPatience = 200 * time.Millisecond

// newDisks returns the disks to which a server writes.
func newDisks(flags *settings.Serve) *disks {
	paths := []string{flags.Store.Dir, flags.Store.DropDir, flags.CacheDir}
	if flags.Store.PushTo != "" {
		paths = append(paths, settings.StateDir())
	}
	return &disks{paths: slices.DeleteFunc(paths, func(p string) bool { return p == "" })}
}

func (d *disks) status(ctx context.Context) []page.Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.asked) >= disksEvery {
		d.asked = time.Now()
		ctx, cancel := context.WithTimeout(ctx, diskPatience)
		defer cancel()
		found, err := wait.For(ctx, func() ([]page.Disk, error) { return freeSpace(d.paths), nil }, nil)
		if err == nil {
			d.last = found
		}
	}
	return append([]page.Disk{}, d.last...)
}

// freeSpace returns the free space of the file systems that contain dirs. If several directories
// are on one file system, only the first is listed.
func freeSpace(dirs []string) (all []page.Disk) {
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
		all = append(all, page.Disk{Path: dir, Free: space.Free, Total: space.Total})
	}
	return all
}
