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

// Bounds of a walk, far above any bundle, that end it in a tree made to be
// endless (links that multiply paths).
const (
	maxPath = 1024      // bytes of a path below the volume
	maxDirs = 1_000_000 // directories
)

// settle is how much older than the look at it a file must be for its stamp to
// be trusted: the clocks of file systems are coarse, some by two seconds.
const settle = 2 * time.Second

// Layouts implements [Volume]. It opens directories only, and no index. A link
// is followed while it stays in the tree. Names that begin with a dot and the
// blobs of a layout are not looked into.
func (d *Dir) Layouts(ctx context.Context) (Listing, error) {
	d.blobs.forget()
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
	byPath := func(a, b problem.Problem) int { return strings.Compare(a.Path, b.Path) }
	slices.SortFunc(w.found.Problems, byPath)
	slices.SortFunc(w.found.Nested, byPath)
	return w.found, nil
}

type walk struct {
	dir   *Dir
	view  *view
	now   time.Time
	group *errgroup.Group
	limit chan struct{} // one slot a goroutine beyond the first

	mu    sync.Mutex
	found Listing
	dirs  int
}

// parents are the directories that lead to one, to see links that run in a circle.
type parents struct {
	info fs.FileInfo
	up   *parents
}

func (p *parents) has(info fs.FileInfo) bool {
	for ; p != nil; p = p.up {
		if os.SameFile(p.info, info) {
			return true
		}
	}
	return false
}

// visit looks into the directory root, at rel in the volume.
func (w *walk) visit(ctx context.Context, root *os.Root, rel string, up *parents) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	info, err := root.Stat(".")
	if err != nil {
		return w.fault(rel, err)
	}
	if up.has(info) {
		w.add(problem.Problem{Kind: problem.Limited, Path: rel, Harmless: true, Reason: "the link leads back to a directory that it is in"})
		return nil
	}
	if !w.count(rel) {
		return nil
	}
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		if err := w.fault(rel, err); err != nil {
			return err
		}
	}
	isLayout, err := w.layout(root, rel, entries)
	if err != nil {
		return err
	}
	w.nestedArchives(rel, entries)
	up = &parents{info, up}
	for _, e := range entries {
		if w.skip(e, isLayout) {
			continue
		}
		if err := w.descend(ctx, root, rel, e, up); err != nil {
			return err
		}
	}
	return nil
}

// skip says whether e is nothing to look into: hidden, the blobs of a layout, or a file.
func (w *walk) skip(e fs.DirEntry, inLayout bool) bool {
	name := e.Name()
	if strings.HasPrefix(name, ".") || inLayout && name == "blobs" {
		return true
	}
	return !e.IsDir() && e.Type()&fs.ModeSymlink == 0
}

// descend visits the directory or link e, in a goroutine of its own where one is free.
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
		if class := ClassifyName(e.Name()); statErr != nil && rel == "." && (class.Kind == NameArchive || class.Kind == NameChunk || class.Unread) {
			return nil // reported where archives are looked for
		}
		// From the top, as the link may leave its directory but not the tree.
		if root, err = plainfile.OpenRootIn(w.dir.root, filepath.FromSlash(name)); err != nil {
			return w.fault(name, fmt.Errorf("%w: %w", errLink, err))
		}
	} else if root, err = plainfile.OpenRootIn(parent, e.Name()); err != nil {
		return w.fault(name, err)
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

// layout records the directory at rel if it is a layout, and says whether it is one.
func (w *walk) layout(root *os.Root, rel string, entries []fs.DirEntry) (bool, error) {
	var index, marker, blobs bool
	for _, e := range entries {
		switch e.Name() {
		case "index.json":
			index = true
		case "oci-layout":
			marker = true
		case "blobs":
			blobs = true
		}
	}
	name := path.Join(rel, "index.json")
	at := w.view.at(name)
	if !index && at == name {
		// Blobs come before the index in the archives of the field, so this is what
		// an unpacking that was cut short leaves. Another directory may be called so.
		cut := blobs && (marker || hasAlgorithm(root))
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
	if err != nil { // a link that leaves the directory, perhaps, or it was moved to its place
		info, err = w.dir.root.Stat(filepath.FromSlash(name))
	}
	switch {
	case err != nil:
		return true, w.fault(name, linkError(w.dir.root, filepath.FromSlash(name), err))
	case !info.Mode().IsRegular():
		w.reportf(problem.Damaged, name, "not a regular file")
	default:
		w.mu.Lock()
		defer w.mu.Unlock()
		w.found.Layouts = append(w.found.Layouts, Layout{
			Path:  rel,
			Index: extent.List{{File: file, Len: info.Size(), Whole: true}},
			Stamp: Stamp{ID: stampOf(info), Settled: w.now.Sub(info.ModTime()) > settle},
		})
	}
	return true, nil
}

// hasAlgorithm says whether the directory blobs below root holds blobs.
func hasAlgorithm(root *os.Root) bool {
	for _, name := range []string{"blobs/sha256", "blobs/sha512"} {
		if info, err := root.Stat(filepath.FromSlash(name)); err == nil && info.IsDir() {
			return true
		}
	}
	return false
}

// count counts one more directory and says whether there may be more.
func (w *walk) count(rel string) bool {
	w.mu.Lock()
	w.dirs++
	n := w.dirs
	if n <= maxDirs {
		w.found.Dirs = append(w.found.Dirs, filepath.Join(w.dir.name, rel))
	}
	w.mu.Unlock()
	if n == maxDirs+1 {
		w.reportf(problem.Limited, rel, "more than %d directories: the rest is not looked at", maxDirs)
	}
	return n <= maxDirs
}

// fault records what the file system said of rel. What was removed while we looked
// is no problem: it is gone. The error is one that [Exhausted] knows: it ends the walk.
func (w *walk) fault(rel string, err error) error {
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
