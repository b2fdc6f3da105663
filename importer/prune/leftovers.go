package prune

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// LeftoversRequest says which leftovers to find, and whether to remove them.
type LeftoversRequest struct {
	DropDir string // drop directory to clean up, too; empty means none

	// OlderThan is the minimum age of a leftover.
	OlderThan time.Duration
	// MaxSize limits the bundles that stay in done/ and failed/ of the drop directory to this total size in
	// bytes. The newest bundles stay. A negative value means no limit.
	MaxSize int64
	Remove  bool
}

// Leftover is a file or directory that is no longer needed.
type Leftover struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"` // disk space that its removal frees
	Reason string `json:"reason"`

	since  time.Time
	remove func() error
}

// Leftovers is the result of [Pruner.Leftovers].
type Leftovers struct {
	List    []Leftover `json:"leftovers"`
	Bytes   int64      `json:"bytes"`
	Removed bool       `json:"removed"`
}

// Leftovers finds files that are no longer needed. These are staged files of killed imports, cached indexes
// of removed archives, and signed inventories of removed bundles. Leftovers are also bundles in done/ and
// failed/ of a drop directory. If the request says so, the files are removed. Content of the store is never
// removed. Errors are ErrLocked and those of the context and the file system. With an error, the result lists
// the files that were removed before.
func (p *Pruner) Leftovers(ctx context.Context, r LeftoversRequest) (Leftovers, error) {
	if p.bucket != nil {
		return p.garbage(ctx, r)
	}
	s, err := p.lock(ctx)
	if err != nil {
		return Leftovers{}, err
	}
	defer s.Close()
	staged, err := p.staged(s)
	if err != nil {
		return Leftovers{}, err
	}
	signed, err := p.signed(ctx, s)
	if err != nil {
		return Leftovers{}, err
	}
	found := slices.Concat(staged, p.indexes(), signed)
	found = slices.DeleteFunc(found, func(x Leftover) bool { return p.isYoung(x, r) })
	if r.DropDir != "" {
		root, err := plainfile.OpenRoot(r.DropDir)
		if err != nil {
			return Leftovers{}, fmt.Errorf("drop directory: %w", err)
		}
		defer root.Close()
		bundles, err := p.dropped(root, r)
		if err != nil {
			return Leftovers{}, err
		}
		found = append(found, bundles...)
	}
	all := Leftovers{List: []Leftover{}, Removed: r.Remove}
	for _, x := range found {
		if r.Remove {
			if err := ctx.Err(); err != nil {
				return all, err
			}
			if err := x.remove(); err != nil {
				return all, fmt.Errorf("%s: %w", x.Path, err)
			}
		}
		all.List, all.Bytes = append(all.List, x), all.Bytes+x.Bytes
	}
	return all, nil
}

func (p *Pruner) isYoung(x Leftover, r LeftoversRequest) bool {
	return p.now().Sub(x.since) < r.OlderThan
}

// staged finds the staged files of killed imports. No import is running, because this process has the lock.
func (p *Pruner) staged(s *publish.Store) ([]Leftover, error) {
	x, err := measure(s.Root(), path.Join(journal.Dir, "staging"))
	if errors.Is(err, fs.ErrNotExist) || err == nil && x.since.IsZero() {
		return nil, nil
	}
	x.Path, x.Reason, x.remove = filepath.Join(s.Dir(), x.Path), "staged by an interrupted import; if you repeat that import, it resumes from these files", s.Clear
	return []Leftover{x}, err
}

// indexes finds the cached indexes of archives that are no longer in the store.
func (p *Pruner) indexes() (all []Leftover) {
	for _, file := range volume.Cache(p.options.CacheDir).Gone([]string{p.options.Store}) {
		info, err := os.Lstat(file)
		if err != nil {
			continue
		}
		_, _, bytes := spaceOf(info)
		all = append(all, Leftover{Path: file, Bytes: bytes, Reason: "cached index of an archive that the store no longer has", since: changedAt(info),
			remove: func() error { return ignoreMissing(os.Remove(file)) }})
	}
	return all
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// dropped finds the bundles in done/ and failed/ of a drop directory that exceed the limit of age or of total
// size. Without limits, it finds all bundles there.
func (p *Pruner) dropped(root *os.Root, r LeftoversRequest) (found []Leftover, err error) {
	var all []Leftover
	for dir, why := range map[string]string{"done": "imported", "failed": "refused by an import"} {
		info, err := root.Lstat(dir)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
			continue // ignore links, files and missing directories
		}
		entries, err := fs.ReadDir(root.FS(), dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			name := path.Join(dir, e.Name())
			x, err := measure(root, name)
			if err != nil {
				return nil, err
			}
			x.Path, x.Reason = filepath.Join(r.DropDir, name), why
			x.remove = func() error { return root.RemoveAll(name) }
			all = append(all, x)
		}
	}
	slices.SortStableFunc(all, func(a, b Leftover) int { return cmp.Or(b.since.Compare(a.since), cmp.Compare(a.Path, b.Path)) })
	var kept int64
	full := false // set at the first bundle that exceeds a limit: all older ones are leftovers, too
	hasLimit := r.MaxSize >= 0 || r.OlderThan > 0
	for _, x := range all {
		fits := r.MaxSize < 0 || !full && kept+x.Bytes <= r.MaxSize
		young := r.OlderThan == 0 || p.isYoung(x, r)
		if hasLimit && fits && young {
			kept += x.Bytes
			continue
		}
		full = true
		found = append(found, x)
	}
	return found, nil
}

// measure returns the disk space of a file or directory, and the time of its latest change. For a
// directory in journal.Dir, only changes of its files count: the time is zero if it has no files.
func measure(root *os.Root, name string) (x Leftover, err error) {
	x.Path = name
	seen := map[inode]bool{}
	err = fs.WalkDir(root.FS(), name, func(at string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		id, links, bytes := spaceOf(info)
		if !info.IsDir() && !seen[id] {
			seen[id] = id != inode{}
			if links == 1 {
				x.Bytes += bytes
			}
		}
		if !info.IsDir() || at == name && e.IsDir() && !strings.HasPrefix(name, journal.Dir) {
			if since := changedAt(info); since.After(x.since) {
				x.since = since
			}
		}
		return nil
	})
	return x, err
}

// WriteText writes the leftovers as text, one per line.
func (l Leftovers) WriteText(w io.Writer) error {
	var b strings.Builder
	for _, x := range l.List {
		fmt.Fprintf(&b, "%s: %s: %s\n", x.Path, sizeText(x.Bytes), x.Reason)
	}
	switch {
	case len(l.List) == 0:
		b.WriteString("no leftovers\n")
	case l.Removed:
		fmt.Fprintf(&b, "removed: %s\n", sizeText(l.Bytes))
	default:
		fmt.Fprintf(&b, "%s in total; to remove them, repeat the command with --yes\n", sizeText(l.Bytes))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
