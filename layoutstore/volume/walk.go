package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// These are limits of a walk, far above what any bundle needs. Without them, links could make a walk endless.
const (
	// maxPath is the maximum length in bytes of a path below the volume.
	maxPath = 1024
	maxDirs = 1_000_000
)

// settleTime is how old a file must be for its stamp to be settled. File systems store coarse
// times, some in steps of two seconds.
const settleTime = 2 * time.Second

// Layouts implements [Volume]. It opens directories, but no index. It follows links that stay
// inside the tree. It skips names that begin with a dot, and the directory blobs of each layout.
func (d *Dir) Layouts(ctx context.Context) (Listing, error) {
	d.blobs.closeAll()
	v, err := viewOf(d.root)
	if err != nil {
		if IsExhausted(err) {
			return Listing{}, err
		}
		return Listing{Problems: []problem.Problem{unreadable(problem.Incomplete, ".", err)}, Dirs: []string{d.name}}, nil
	}
	w := &walk{dir: d, view: v, now: time.Now(), limit: make(chan struct{}, runtime.GOMAXPROCS(0))}
	w.group, ctx = errgroup.WithContext(ctx)
	w.group.Go(func() error { return w.visit(ctx, d.root, ".", nil) })
	if err := w.group.Wait(); err != nil {
		return Listing{}, err
	}
	slices.SortFunc(w.found.Layouts, func(a, b Layout) int { return strings.Compare(a.Path, b.Path) })
	slices.SortFunc(w.found.Problems, problem.Compare)
	slices.SortFunc(w.found.Nested, problem.Compare)
	return w.found, nil
}

type walk struct {
	dir   *Dir
	view  *view
	now   time.Time
	group *errgroup.Group
	limit chan struct{} // contains one value per running goroutine, except the first

	mu    sync.Mutex
	found Listing
	dirs  int
}

// parents contains a directory and all directories above it, to detect cycles of links.
type parents struct {
	info fs.FileInfo
	up   *parents
}

func (p *parents) contains(info fs.FileInfo) bool {
	for ; p != nil; p = p.up {
		if os.SameFile(p.info, info) {
			return true
		}
	}
	return false
}

// visit scans the directory root, which is at the path rel in the volume.
func (w *walk) visit(ctx context.Context, root *os.Root, rel string, up *parents) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	info, err := root.Stat(".")
	if err != nil {
		return w.reportError(rel, err)
	}
	if up.contains(info) {
		w.add(problem.Problem{Kind: problem.Limited, Path: rel, Harmless: true, Reason: "the link leads back to a directory that contains it"})
		return nil
	}
	if !w.count(rel) {
		return nil
	}
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		if err := w.reportError(rel, err); err != nil {
			return err
		}
	}
	isLayout, err := w.layout(root, rel, entries)
	if err != nil {
		return err
	}
	w.reportNested(rel, entries)
	up = &parents{info, up}
	for _, e := range entries {
		if isSkipped(e, isLayout) {
			continue
		}
		if err := w.descend(ctx, root, rel, e, up); err != nil {
			return err
		}
	}
	return nil
}

// isSkipped reports whether the walk skips e, because it is hidden, a file, or the directory blobs
// of a layout.
func isSkipped(e fs.DirEntry, inLayout bool) bool {
	name := e.Name()
	if strings.HasPrefix(name, ".") || inLayout && name == "blobs" {
		return true
	}
	return !e.IsDir() && e.Type()&fs.ModeSymlink == 0
}

// descend visits the directory e or the directory to which e links. If the limit allows it, it does
// so in a new goroutine.
func (w *walk) descend(ctx context.Context, parent *os.Root, rel string, e fs.DirEntry, up *parents) error {
	name := path.Join(rel, e.Name())
	if len(name) > maxPath {
		w.reportf(problem.Limited, name, "path longer than %d bytes", maxPath)
		return nil
	}
	var root *os.Root
	var err error
	if e.Type()&fs.ModeSymlink != 0 {
		info, statErr := w.dir.root.Stat(filepath.FromSlash(name))
		if statErr == nil && !info.IsDir() {
			return nil
		}
		if statErr != nil && rel == "." && ClassifyName(e.Name()).looksLikeArchive() {
			return nil // FindArchives reports this link
		}
		// Open the link from the top of the tree, because it may lead out of its directory, but not out of the tree.
		if root, err = plainfile.OpenRootIn(w.dir.root, filepath.FromSlash(name)); err != nil {
			return w.reportError(name, fmt.Errorf("%w: %w", errLink, err))
		}
	} else if root, err = plainfile.OpenRootIn(parent, e.Name()); err != nil {
		return w.reportError(name, err)
	}
	visit := func() error {
		defer root.Close()
		return w.visit(ctx, root, name, up)
	}
	select {
	case w.limit <- struct{}{}:
		w.group.Go(func() error {
			defer func() { <-w.limit }()
			return visit()
		})
		return nil
	default:
		return visit()
	}
}

// layout records the directory at rel if it is a layout. It returns true if the directory is a
// layout, even an incomplete one.
func (w *walk) layout(root *os.Root, rel string, entries []fs.DirEntry) (bool, error) {
	has := func(name string) bool {
		return slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == name })
	}
	name := path.Join(rel, "index.json")
	at := w.view.at(name)
	if !has("index.json") && at == name {
		// d8 packs the blobs before the index. So if unpacking was interrupted, there are blobs
		// without an index. But a directory named blobs may also have another purpose.
		cut := has("blobs") && (has("oci-layout") || hasAlgorithm(root))
		if cut {
			w.reportf(problem.Incomplete, rel, "blobs of an OCI layout without its index.json")
		}
		return cut, nil
	}
	file := &rootFile{vol: w.dir, root: w.dir.root, name: filepath.FromSlash(name), shown: filepath.Join(w.dir.name, name)}
	info, err := root.Stat("index.json")
	if at != name {
		file.name, file.moving = filepath.FromSlash(at), file.name
		info, err = w.dir.root.Stat(file.name)
	}
	if err != nil { // the link may leave the directory, or the staged file was just moved
		info, err = w.dir.root.Stat(filepath.FromSlash(name))
	}
	switch {
	case err != nil:
		return true, w.reportError(name, linkError(w.dir.root, filepath.FromSlash(name), err))
	case !info.Mode().IsRegular():
		w.reportf(problem.Damaged, name, "not a regular file")
	default:
		w.mu.Lock()
		defer w.mu.Unlock()
		w.found.Layouts = append(w.found.Layouts, Layout{
			Path:  rel,
			Index: extent.List{{File: file, Len: info.Size(), Whole: true}},
			Stamp: Stamp{ID: stampOf(info), Settled: w.now.Sub(info.ModTime()) > settleTime},
		})
	}
	return true, nil
}

// hasAlgorithm reports whether the directory blobs below root looks like that of a layout.
func hasAlgorithm(root *os.Root) bool {
	for _, name := range []string{"blobs/sha256", "blobs/sha512"} {
		if info, err := root.Stat(filepath.FromSlash(name)); err == nil && info.IsDir() {
			return true
		}
	}
	return false
}

// count counts the directory at rel. It returns false if the limit is exceeded.
func (w *walk) count(rel string) bool {
	w.mu.Lock()
	w.dirs++
	n := w.dirs
	if n <= maxDirs {
		w.found.Dirs = append(w.found.Dirs, filepath.Join(w.dir.name, rel))
	}
	w.mu.Unlock()
	if n == maxDirs+1 {
		w.reportf(problem.Limited, rel, "more than %d directories: the rest is not read", maxDirs)
	}
	return n <= maxDirs
}

// reportError reports an error of the file system at the path rel as a problem. It ignores the error if the
// file was removed during the scan. If [IsExhausted] is true for err, it returns err, which ends the walk.
func (w *walk) reportError(rel string, err error) error {
	if IsExhausted(err) {
		return err
	}
	if errors.Is(err, fs.ErrNotExist) && rel != "." {
		if info, lerr := w.dir.root.Lstat(filepath.FromSlash(rel)); lerr != nil || info.Mode()&fs.ModeSymlink == 0 {
			return nil
		}
	}
	w.add(unreadable(problem.Damaged, rel, err))
	return nil
}

func (w *walk) reportf(kind problem.Kind, rel, format string, args ...any) {
	w.add(problem.Problem{Kind: kind, Path: rel, Reason: fmt.Sprintf(format, args...)})
}

func (w *walk) add(p problem.Problem) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch n := len(w.found.Problems); {
	case n == maxProblems:
		p = problem.Problem{Kind: problem.Limited, Path: ".", Reason: fmt.Sprintf("more than %d problems: the rest is not listed", maxProblems), Transient: p.Transient}
	case n > maxProblems:
		return
	}
	w.found.Problems = append(w.found.Problems, p)
}
