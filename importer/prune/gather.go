package prune

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// contents is the content of a store. It has the facts for the decisions, and what a prune needs to carry
// them out.
type contents struct {
	Facts
	store    storage
	snapshot *layoutstore.Snapshot
	retired  []*time.Time // for each volume, the end of its grace period; nil if the volume is not retired
	added    []time.Time  // for each archive, when its files were added to the store; zero for the loose files

	archives map[string]int // position in Facts.Volumes, by the archive's file name

	sizes map[string]map[digest.Digest]int64 // sizes in bytes of manifests and blobs, by repository

	pruned map[prunedImage]time.Time // images whose tags a prune has removed, with the end of their grace periods

	verified map[blobCopy]bool // copies of blobs whose digests have been verified
}

type prunedImage struct {
	path   string
	digest digest.Digest
}

// blobCopy is the copy of a repository's blob in one volume.
type blobCopy struct {
	path   string
	digest digest.Digest
	volume int
}

// gather gathers the facts of an open store at a time. If declared is set, it also reads the declarations of
// releases.
func (p *Pruner) gather(ctx context.Context, s storage, declared bool, now time.Time) (*contents, error) {
	snapshot, err := s.snapshot(ctx, p.options)
	if err != nil {
		return nil, err
	}
	in := &contents{store: s, snapshot: snapshot, archives: map[string]int{}, sizes: map[string]map[digest.Digest]int64{}, pruned: map[prunedImage]time.Time{}, verified: map[blobCopy]bool{}}
	for _, p := range s.state().Pruned {
		if at := (prunedImage{p.Path, p.Digest}); p.After.After(in.pruned[at]) {
			in.pruned[at] = p.After
		}
	}
	if hidden := in.snapshot.Hiding(); len(hidden) > 0 {
		return nil, &HiddenError{hidden}
	}
	var repos []*layoutstore.Repository
	for _, at := range in.snapshot.Paths() {
		repo, err := in.snapshot.At(at)
		if err != nil {
			return nil, err
		}
		if len(repo.Layouts()) > 0 { // without a layout, a repository has only discovery tags
			repos = append(repos, repo)
		}
	}
	if err := in.findVolumes(repos, now); err != nil {
		return nil, err
	}
	for _, repo := range repos {
		if err := in.addRepository(ctx, repo); err != nil {
			return nil, fmt.Errorf("%s: %w", repo.Path(), err)
		}
	}
	if p.options.Declared != nil && declared {
		if in.Declarations, err = p.options.Declared(ctx, in.snapshot); err != nil {
			return nil, err
		}
	}
	return in, nil
}

// findVolumes sets Facts.Volumes: the loose files, then the archives by generation.
func (in *contents) findVolumes(repos []*layoutstore.Repository, now time.Time) error {
	entries, err := in.store.files()
	if err != nil {
		return err
	}
	in.Volumes, in.retired, in.added = []Volume{{}}, []*time.Time{nil}, []time.Time{{}}
	packed := map[string]journal.Packed{}
	for _, k := range in.store.state().Packed {
		packed[k.File] = k
	}
	var files []string
	for _, repo := range repos {
		for _, l := range repo.Layouts() {
			if l.Volume() != in.store.place() {
				files = append(files, filepath.Base(l.Volume()))
			}
		}
	}
	slices.Sort(files)
	files = slices.Compact(files)
	slices.SortStableFunc(files, func(a, b string) int { return cmp.Compare(packed[a].Generation, packed[b].Generation) })
	for _, file := range files {
		due := packed[file].Retired
		in.archives[file] = len(in.Volumes)
		in.Volumes = append(in.Volumes, Volume{File: file, Retired: due != nil, Due: due != nil && !now.Before(*due)})
		in.retired = append(in.retired, due)
		var added time.Time
		for _, name := range filesOf(file, entries) { // the archive may be in chunks
			if since := in.store.since(name); since.After(added) {
				added = since
			}
		}
		in.added = append(in.added, added)
	}
	return nil
}

func (in *contents) volumeOf(l layoutstore.Layout) int {
	if l.Volume() == in.store.place() {
		return 0
	}
	return in.archives[filepath.Base(l.Volume())]
}

// addRepository adds the facts of a repository. If a manifest has several copies, it verifies each
// of them, because the copy that remains must be intact.
func (in *contents) addRepository(ctx context.Context, repo *layoutstore.Repository) error {
	r := &Repository{Path: repo.Path(), Manifests: map[digest.Digest]Manifest{}, Copies: map[digest.Digest][]int{}}
	sizes := map[digest.Digest]int64{}
	var stored []layoutstore.Stored
	audit, err := in.snapshot.AuditWith(ctx, repo.Path(), layoutstore.Findings{Blob: func(b layoutstore.Stored) {
		if b.Needed {
			stored = append(stored, b)
		}
	}})
	if err != nil {
		return err
	}
	for _, m := range audit.Graph.Manifests {
		if !repo.IsDiscovery(m.Digest) {
			r.Manifests[m.Digest] = manifestOf(m)
			sizes[m.Digest] = m.Size
		}
	}
	for _, b := range audit.Graph.Blobs {
		if !repo.IsDiscovery(b.Digest) {
			sizes[b.Digest] = b.Size()
		}
	}
	for _, b := range stored {
		r.Copies[b.Digest] = append(r.Copies[b.Digest], in.volumeOf(b.Layout))
	}
	for _, b := range stored {
		if _, isManifest := r.Manifests[b.Digest]; !isManifest || len(r.Copies[b.Digest]) < 2 {
			continue
		}
		good, err := bundle.HasDigest(ctx, b.Where, b.Digest)
		if err != nil {
			return err
		}
		if n := in.volumeOf(b.Layout); !good {
			r.Copies[b.Digest] = slices.DeleteFunc(r.Copies[b.Digest], func(c int) bool { return c == n })
		}
	}
	if err := in.addImages(ctx, repo, r); err != nil {
		return err
	}
	in.sizes[r.Path] = sizes
	in.Repositories = append(in.Repositories, r)
	return nil
}

// decide makes the decisions. An archive is removed only if the copies that remain are intact, and files are
// removed only if no other repository needs them. If that is not so, decide corrects the facts, and decides
// again.
func (in *contents) decide(ctx context.Context, p Policy, s Scope) (Outcome, error) {
	for {
		o, err := Decide(in.Facts, p, s)
		if err != nil {
			return Outcome{}, err
		}
		damaged, err := in.removeDamaged(ctx, o)
		if err != nil {
			return Outcome{}, err
		}
		if !damaged && !in.keepLinked(o) {
			return o, nil
		}
	}
}

// removeDamaged verifies the copies of blobs that must replace those in the archives that an outcome removes.
// It removes damaged copies from the facts, and reports whether there were any.
func (in *contents) removeDamaged(ctx context.Context, o Outcome) (changed bool, err error) {
	if len(o.Dropped) == 0 {
		return false, nil
	}
	isDropped := func(volume int) bool { return slices.Contains(o.Dropped, volume) }
	for _, r := range in.Repositories {
		repo, err := in.snapshot.At(r.Path)
		if err != nil {
			return false, err
		}
		kept := slices.Sorted(maps.Keys(o.Content[r.Path]))
		for _, l := range repo.Layouts() {
			n := in.volumeOf(l)
			if isDropped(n) {
				continue
			}
			for _, d := range kept {
				_, isManifest := r.Manifests[d] // addRepository has verified the manifests
				if isManifest || !slices.Contains(r.Copies[d], n) || !slices.ContainsFunc(r.Copies[d], isDropped) {
					continue
				}
				good, err := in.isIntact(ctx, l, blobCopy{r.Path, d, n})
				if err != nil {
					return false, err
				}
				if !good {
					r.Copies[d] = slices.DeleteFunc(r.Copies[d], func(c int) bool { return c == n })
					changed = true
				}
			}
		}
	}
	return changed, nil
}

// isIntact verifies the digest of a blob's copy in a layout. It reads each intact copy only once. A copy whose
// digest cannot be computed counts as damaged.
func (in *contents) isIntact(ctx context.Context, l layoutstore.Layout, b blobCopy) (bool, error) {
	if in.verified[b] {
		return true, nil
	}
	where, err := l.Locate(ctx, b.digest)
	if err != nil || !b.digest.Algorithm().Available() {
		return false, ctx.Err()
	}
	good, err := bundle.HasDigest(ctx, where, b.digest)
	in.verified[b] = good
	return good, err
}

func manifestOf(m *closure.Manifest) Manifest {
	x := Manifest{}
	if m.Unavailable != nil {
		x.Gap = m.Unavailable.Error()
	}
	for _, c := range m.Refs.Children {
		x.Children = append(x.Children, c.Digest)
	}
	for _, b := range m.Refs.Blobs {
		x.Blobs = append(x.Blobs, b.Digest)
	}
	if m.Refs.Subject != nil {
		x.Subject = m.Refs.Subject.Digest
	}
	return x
}

// naming is an image, with a summary of all descriptors for it in the indexes.
type naming struct {
	image    Image
	onlyLost bool // whether each descriptor without a tag has lost its tag to another image

	retired bool // whether all descriptors of the image are in retired archives

	due time.Time // latest end of these archives' grace periods
}

func (in *contents) addImages(ctx context.Context, repo *layoutstore.Repository, r *Repository) error {
	winners := map[string]digest.Digest{}
	found := map[digest.Digest]*naming{}
	lost := map[digest.Digest]string{}
	several := false
	for _, l := range repo.Layouts() {
		n := in.volumeOf(l)
		entries, err := l.Index(ctx)
		if err != nil {
			return err
		}
		layer, due := Layer{Volume: n}, in.retired[n]
		several = several || due == nil && layoutstore.HasTagsOfSeveralRepositories(r.Path, entries)
		for _, e := range entries {
			x := found[e.Digest]
			if x == nil {
				x = &naming{image: Image{Digest: e.Digest}, onlyLost: true, retired: true}
				found[e.Digest] = x
			}
			if due != nil {
				e.Tag = ""
			}
			x.retired = x.retired && due != nil
			if due != nil && due.After(x.due) {
				x.due = *due
			}
			if e.Tag != "" {
				if old, had := winners[e.Tag]; had && old != e.Digest {
					lost[old] = e.Tag
				}
				winners[e.Tag] = e.Digest
			} else if tag := replacedTag(e.Raw); tag != "" {
				x.image.Replaced = tag
			} else {
				x.onlyLost = false
			}
			layer.Entries = append(layer.Entries, Entry{e.Digest, e.Tag})
		}
		r.Layers = append(r.Layers, layer)
	}
	for tag, d := range winners {
		found[d].image.Tags = append(found[d].image.Tags, tag)
	}
	for d, x := range found {
		in.complete(r, x, lost[d])
		r.Images = append(r.Images, x.image)
	}
	slices.SortFunc(r.Images, func(a, b Image) int { return cmp.Compare(a.Digest, b.Digest) })
	if r.Unclear = compareTags(repo, winners); r.Unclear == "" && several {
		r.Unclear = severalRepositories
	}
	return nil
}

// severalRepositories is the text for a repository whose tags depend on its name.
const severalRepositories = "its indexes refer to several repositories"

// complete fills in the times of an image and the tag that it has lost. The parameter lost is the tag that
// another image in this store has taken.
func (in *contents) complete(r *Repository, x *naming, lost string) {
	slices.Sort(x.image.Tags)
	x.image.Replaced = cmp.Or(x.image.Replaced, lost)
	if !x.onlyLost {
		x.image.Replaced = ""
	}
	for _, n := range r.Copies[x.image.Digest] {
		since := in.added[n]
		if n == 0 {
			since = in.store.since(path.Join(r.Path, names.BlobPath(x.image.Digest)))
		}
		if since.After(x.image.Since) {
			x.image.Since = since
		}
	}
	if x.retired {
		x.image.Pruned = x.due
	}
	if after := in.pruned[prunedImage{r.Path, x.image.Digest}]; after.After(x.image.Pruned) {
		x.image.Pruned = after
	}
}

// replacedTag returns the tag that a descriptor had until an import gave it to another image.
func replacedTag(raw json.RawMessage) string {
	var d struct {
		Annotations map[string]json.RawMessage `json:"annotations"`
	}
	var tag string
	if json.Unmarshal(raw, &d) == nil {
		_ = json.Unmarshal(d.Annotations[publish.ReplacedTag], &tag) // an annotation that is not a string leaves the tag empty
	}
	return tag
}

// compareTags describes how the tags in the indexes differ from the tags of the repository, or returns "" if
// they are equal. If they differ, the effect of a changed index on the tags is unknown.
func compareTags(repo *layoutstore.Repository, winners map[string]digest.Digest) string {
	tags, _ := repo.Tags("", -1)
	seen := 0
	for _, tag := range tags {
		d, err := repo.TagDigest(tag)
		if err != nil || repo.IsDiscovery(d) {
			continue
		}
		if seen++; winners[tag] != d {
			return severalRepositories + ": tag " + tag
		}
	}
	if seen != len(winners) {
		return severalRepositories
	}
	return ""
}
