package prune

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// block is the usual block size of a file system, in bytes. A file occupies complete blocks.
const block = 4 << 10

const planFormat = 1

// Plan lists what a prune removes from a store, and what it keeps.
type Plan struct {
	Format     int        `json:"format"`
	Store      string     `json:"store"`
	Generation uint64     `json:"generation"` // generation of the store for which the plan is valid
	Time       time.Time  `json:"time"`
	Policy     Policy     `json:"policy"`
	Grace      string     `json:"grace"`
	Repack     bool       `json:"repack,omitempty"`
	Remove     Removal    `json:"remove"`
	Keep       []Decision `json:"keep"`
}

// Removal lists what a prune removes.
type Removal struct {
	Images    []Decision `json:"images"` // images, which are manifests that an index lists
	Manifests []Content  `json:"manifests"`
	Blobs     []Content  `json:"blobs"`
	Archives  []Archive  `json:"archives"`
	Tags      int        `json:"tags"`
	Files     int        `json:"files"`
	// Bytes is the disk space that becomes free. A file with other hard links frees no space.
	Bytes int64 `json:"bytes"`
}

// Content is a manifest or blob of a repository.
type Content struct {
	Repository string        `json:"repository"`
	Digest     digest.Digest `json:"digest"`
	Size       int64         `json:"size"` // bytes
}

// Archive is an archive that a prune removes or rewrites.
type Archive struct {
	File  string   `json:"file"`
	Files []string `json:"files"` // names of the archive or its chunks, and of checksum files

	Rewritten string `json:"rewritten,omitempty"` // file name of the rewritten archive; empty if nothing replaces File
}

// IsEmpty reports whether the plan removes nothing.
func (p Plan) IsEmpty() bool { return len(p.Remove.Images)+len(p.Remove.Archives) == 0 }

func (p Plan) request() Request {
	grace, _ := time.ParseDuration(p.Grace) // ReadPlan has checked the value
	return Request{p.Policy, grace, p.Repack}
}

// isSame reports whether two plans remove and keep the same content. The reasons may differ.
func (p Plan) isSame(other Plan) bool {
	image := func(a, b Decision) bool {
		return a.Keep == b.Keep && a.Repository == b.Repository && a.Digest == b.Digest && slices.Equal(a.Tags, b.Tags)
	}
	content := func(a, b Content) bool { return a.Repository == b.Repository && a.Digest == b.Digest }
	archive := func(a, b Archive) bool {
		return a.File == b.File && a.Rewritten == b.Rewritten && slices.Equal(a.Files, b.Files)
	}
	x, y := p.Remove, other.Remove
	return slices.EqualFunc(x.Images, y.Images, image) && slices.EqualFunc(p.Keep, other.Keep, image) &&
		slices.EqualFunc(x.Manifests, y.Manifests, content) && slices.EqualFunc(x.Blobs, y.Blobs, content) && slices.EqualFunc(x.Archives, y.Archives, archive)
}

// Marshal returns the content of a plan file.
func (p Plan) Marshal() ([]byte, error) {
	data, err := json.MarshalIndent(p, "", "  ")
	return append(data, '\n'), err
}

// ReadPlan parses the content of a plan file. Its only error is ErrBadPlan.
func ReadPlan(data []byte) (Plan, error) {
	var p Plan
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return p, fmt.Errorf("%w: %w", ErrBadPlan, err)
	}
	if p.Format != planFormat {
		return p, fmt.Errorf("%w: it has format %d, but this version of layoutproxy supports only format %d", ErrBadPlan, p.Format, planFormat)
	}
	if grace, err := time.ParseDuration(p.Grace); err != nil || grace < 0 {
		return p, fmt.Errorf("%w: malformed grace period %q", ErrBadPlan, p.Grace)
	}
	return p, nil
}

// work is a plan and everything that the prune needs to carry it out.
type work struct {
	pruner  *Pruner
	store   storage
	found   *contents
	outcome Outcome
	request Request
	plan    Plan
	removed []string // loose files to remove, relative to the store
}

func (p *Pruner) prepare(ctx context.Context, s storage, r Request, now time.Time) (*work, error) {
	found, err := p.gather(ctx, s, !r.Policy.IsEmpty(), now)
	if err != nil {
		return nil, err
	}
	outcome, err := found.decide(ctx, r.Policy, Scope{Now: now, Repack: r.Repack, EndGrace: r.Grace == 0 && !r.Policy.IsEmpty()})
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
	for _, r := range w.found.Repositories {
		for _, d := range slices.Sorted(maps.Keys(w.found.sizes[r.Path])) {
			if w.outcome.Content[r.Path][d] || len(r.Copies[d]) == 0 && !w.isLoose(r.Path, d) {
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

// isLoose reports whether a repository has a loose file of a blob, even if the file is damaged, so that
// Repository.Copies does not list it.
func (w *work) isLoose(repository string, d digest.Digest) bool {
	if _, ok := w.store.(*directory); !ok {
		return false // in a bucket, repositories share the blobs
	}
	_, _, _, err := w.store.measure(path.Join(repository, names.BlobPath(d)))
	return err == nil
}

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
			return fmt.Errorf("%s: %w: remove or rename the file", filepath.Join(w.store.place(), name), fs.ErrExist)
		}
		w.plan.Remove.Archives = append(w.plan.Remove.Archives, Archive{file, filesOf(file, entries), name})
	}
	return nil
}

// filesOf lists the files of an archive: the archive or its chunks, and their checksum files.
func filesOf(archive string, entries []fs.DirEntry) (all []string) {
	for _, e := range entries {
		if name, ok := bundle.ArchiveOf(e.Name()); ok && name == archive && !e.IsDir() {
			all = append(all, e.Name())
		}
	}
	return all
}

// countBytes lists the loose files to remove, the largest first, and counts the disk space that the plan
// frees. A file frees its space only when its last hard link is removed.
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
