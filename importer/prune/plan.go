package prune

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// block is the usual allocation unit of a file system, in bytes.
const block = 4 << 10

// planFormat is the only version of plan files that this program knows.
const planFormat = 1

// Plan says what is removed from a store and what is kept.
type Plan struct {
	Format     int        `json:"format"`
	Store      string     `json:"store"`
	Generation uint64     `json:"generation"` // the plan is valid for this generation of the store only
	Time       time.Time  `json:"time"`
	Policy     Policy     `json:"policy"`
	Grace      string     `json:"grace"`
	Repack     bool       `json:"repack,omitempty"`
	Remove     Removal    `json:"remove"`
	Keep       []Decision `json:"keep"`
}

// Removal is what a plan removes.
type Removal struct {
	Images    []Decision `json:"images"` // that indexes name
	Manifests []Content  `json:"manifests"`
	Blobs     []Content  `json:"blobs"`
	Archives  []Archive  `json:"archives"`
	Tags      int        `json:"tags"`
	Files     int        `json:"files"`
	// Bytes is how much disk space becomes free. A file that also has another name, which is
	// kept, frees nothing.
	Bytes int64 `json:"bytes"`
}

// Content is a manifest or blob of a repository.
type Content struct {
	Repository string        `json:"repository"`
	Digest     digest.Digest `json:"digest"`
	Size       int64         `json:"size"` // bytes
}

// Archive is an archive to remove or rewrite.
type Archive struct {
	File      string   `json:"file"`
	Files     []string `json:"files"`               // the archive or its chunks, and their checksum files
	Rewritten string   `json:"rewritten,omitempty"` // name of the new archive
}

// IsEmpty reports whether the plan removes nothing.
func (p Plan) IsEmpty() bool { return len(p.Remove.Images)+len(p.Remove.Archives) == 0 }

// request returns the request that the plan was made for.
func (p Plan) request() Request {
	grace, _ := time.ParseDuration(p.Grace) // checked by ReadPlan
	return Request{p.Policy, grace, p.Repack}
}

// isSame reports whether two plans remove and keep the same images, for whatever reasons.
func (p Plan) isSame(other Plan) bool {
	mark := func(p Plan) string {
		var b strings.Builder
		for _, list := range [][]Decision{p.Remove.Images, p.Keep} {
			for _, x := range list {
				fmt.Fprintf(&b, "%t %s %s %q\n", x.Keep, x.Repository, x.Digest, x.Tags)
			}
		}
		for _, list := range [][]Content{p.Remove.Manifests, p.Remove.Blobs} {
			for _, x := range list {
				fmt.Fprintf(&b, "%s %s\n", x.Repository, x.Digest)
			}
		}
		for _, x := range p.Remove.Archives {
			fmt.Fprintf(&b, "%q %q %q\n", x.File, x.Files, x.Rewritten)
		}
		return b.String()
	}
	return mark(p) == mark(other)
}

// Marshal returns the content of a plan file.
func (p Plan) Marshal() ([]byte, error) {
	data, err := json.MarshalIndent(p, "", "  ")
	return append(data, '\n'), err
}

// ReadPlan parses a plan file. Errors: ErrBadPlan.
func ReadPlan(data []byte) (Plan, error) {
	var p Plan
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return p, fmt.Errorf("%w: %w", ErrBadPlan, err)
	}
	if p.Format != planFormat {
		return p, fmt.Errorf("%w: format %d, this program knows format %d", ErrBadPlan, p.Format, planFormat)
	}
	if grace, err := time.ParseDuration(p.Grace); err != nil || grace < 0 {
		return p, fmt.Errorf("%w: grace %q", ErrBadPlan, p.Grace)
	}
	return p, nil
}

// work is a plan and everything that is needed to carry it out.
type work struct {
	pruner  *Pruner
	store   storage
	found   *contents
	outcome Outcome
	request Request
	plan    Plan
	removed []string // loose files to remove, relative to the store
}

// prepare makes the plan for a locked store.
func (p *Pruner) prepare(ctx context.Context, s storage, r Request, now time.Time) (*work, error) {
	found, err := p.gather(ctx, s, !r.Policy.IsEmpty())
	if err != nil {
		return nil, err
	}
	outcome, err := Decide(found.Facts, r.Policy, Scope{Now: now, Repack: r.Repack, EndGrace: r.Grace == 0 && !r.Policy.IsEmpty()})
	if err != nil {
		return nil, err
	}
	w := &work{pruner: p, store: s, found: found, outcome: outcome, request: r}
	w.plan = Plan{Format: planFormat, Store: s.place(), Generation: s.state().Generation, Time: now, Policy: r.Policy, Grace: r.Grace.String(), Repack: r.Repack,
		Remove: Removal{Images: []Decision{}, Manifests: []Content{}, Blobs: []Content{}, Archives: []Archive{}}, Keep: []Decision{}}
	for _, x := range outcome.Decisions {
		if x.Keep {
			w.plan.Keep = append(w.plan.Keep, x)
			continue
		}
		w.plan.Remove.Images = append(w.plan.Remove.Images, x)
		w.plan.Remove.Tags += len(x.Tags)
	}
	w.listContent()
	if err := w.listArchives(); err != nil {
		return nil, err
	}
	if err := w.countBytes(ctx); err != nil {
		return nil, err
	}
	if p.options.Check != nil && !w.plan.IsEmpty() {
		if err := p.options.Check(Effect{found.Facts, outcome}); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (w *work) listContent() {
	for i := range w.found.Repositories {
		r := &w.found.Repositories[i]
		for _, d := range sortedKeys(w.found.sizes[r.Path]) {
			if w.outcome.Content[r.Path][d] || len(r.Copies[d]) == 0 {
				continue
			}
			c := Content{r.Path, d, w.found.sizes[r.Path][d]}
			if _, isManifest := r.Manifests[d]; isManifest {
				w.plan.Remove.Manifests = append(w.plan.Remove.Manifests, c)
			} else {
				w.plan.Remove.Blobs = append(w.plan.Remove.Blobs, c)
			}
		}
	}
}

func sortedKeys(m map[digest.Digest]int64) []digest.Digest {
	keys := make([]digest.Digest, 0, len(m))
	for d := range m {
		keys = append(keys, d)
	}
	slices.Sort(keys)
	return keys
}

// listArchives lists the archives to remove and to rewrite.
func (w *work) listArchives() error {
	entries, err := w.store.files()
	if err != nil {
		return err
	}
	for _, n := range w.outcome.Dropped {
		file := w.found.Volumes[n].File
		w.plan.Remove.Archives = append(w.plan.Remove.Archives, Archive{File: file, Files: filesOf(file, entries)})
	}
	for _, n := range w.outcome.Rewritten {
		file := w.found.Volumes[n].File
		name := fmt.Sprintf("%s.%d.tar", strings.TrimSuffix(file, ".tar"), w.plan.Generation+1)
		if len(filesOf(name, entries)) > 0 {
			return fmt.Errorf("%s: %w: remove or rename it", filepath.Join(w.store.place(), name), fs.ErrExist)
		}
		w.plan.Remove.Archives = append(w.plan.Remove.Archives, Archive{file, filesOf(file, entries), name})
	}
	return nil
}

// filesOf lists the files of an archive: the archive or its chunks, and their checksum files.
func filesOf(archive string, entries []fs.DirEntry) (all []string) {
	for _, e := range entries {
		name, ok := volume.IsArchive(strings.TrimSuffix(e.Name(), ".gostsum"))
		if ok && name == archive && !e.IsDir() {
			all = append(all, e.Name())
		}
	}
	return all
}

// countBytes lists the loose files to remove, and counts the disk space that they free. A file
// frees space only when its last name is removed. Files that free most come first.
func (w *work) countBytes(ctx context.Context) error {
	type file struct {
		name  string
		bytes int64
	}
	var files []file
	seen := map[inode]uint64{}
	count := func(name string) error {
		id, links, bytes, err := w.store.measure(name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		w.plan.Remove.Files++
		if seen[id]++; id == (inode{}) || seen[id] == links {
			w.plan.Remove.Bytes += bytes
		}
		files = append(files, file{name, bytes})
		return nil
	}
	for _, list := range [][]Content{w.plan.Remove.Manifests, w.plan.Remove.Blobs} {
		for _, c := range list {
			if err := errors.Join(ctx.Err(), count(path.Join(c.Repository, names.BlobPath(c.Digest)))); err != nil {
				return err
			}
		}
	}
	slices.SortStableFunc(files, func(a, b file) int { return cmp.Compare(b.bytes, a.bytes) })
	for _, f := range files {
		w.removed = append(w.removed, f.name)
	}
	for _, a := range w.plan.Remove.Archives {
		for _, name := range a.Files {
			if err := count(name); err != nil {
				return err
			}
		}
		if a.Rewritten != "" {
			size, err := w.sizeOfRewritten(ctx, a.File)
			if err != nil {
				return err
			}
			w.plan.Remove.Bytes -= (size + block - 1) / block * block
		}
	}
	return nil
}
