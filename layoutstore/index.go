package layoutstore

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unique"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/extent"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

// MaxIndex is the maximum size of an index.json, in bytes.
const MaxIndex = journal.MaxIndex

// Descriptor is an OCI descriptor without its annotations.
type Descriptor = closure.Descriptor

// indexedLayout is a layout in one volume, with its parsed index.json.
type indexedLayout struct {
	vol       volume.Volume
	path      string // path of the layout in the volume, and of the repository in the tree
	stamp     volume.Stamp
	index     *index
	indexFile extent.List // place of the index.json
	trust     *trust      // content that may be served; nil means all content
}

// index is a parsed index.json.
type index struct {
	sum      [sha256.Size]byte // sha256 of the file
	entries  []entry           // valid descriptors, in the order of the file
	ballot   ballot            // votes that references cast for roots
	named    []string          // repositories in the references of entries without a short tag; sorted, unique
	problems []Problem         // problems of the index, without path and repository

	sorting sync.Once
	sorted  []int32 // positions in entries, sorted by digest; nil before the first call of names
}

// entry is a descriptor in an index.json. It is small, because there may be many.
type entry struct {
	key    key
	size   int64  // size in the descriptor, in bytes
	tag    string // empty if the descriptor has no tag
	common *common
	number int32 // position of the descriptor in the file, counting invalid descriptors
}

// common contains fields whose values many descriptors in an index share.
type common struct {
	mediaType string
	// repository is the repository in the reference. It is empty if there is a short tag, because a
	// short tag always belongs to the repository of the layout.
	repository string
	byDigest   bool          // whether the short tag is a digest, which means no tag
	digest     digest.Digest // empty if the key contains the digest
}

func (e *entry) digest() digest.Digest {
	if e.common.digest != "" {
		return e.common.digest
	}
	return e.key.digest()
}

// names reports whether the index has a descriptor of d. The first call sorts the entries, so that
// later calls are fast. There may be many calls: one per missing digest.
func (ix *index) names(d digest.Digest) bool {
	ix.sorting.Do(func() {
		ix.sorted = make([]int32, len(ix.entries))
		for i := range ix.sorted {
			ix.sorted[i] = int32(i) // i fits into 32 bits, because MaxIndex limits the file
		}
		slices.SortFunc(ix.sorted, func(a, b int32) int { return ix.entries[a].key.compare(ix.entries[b].key) })
	})
	k, _ := keyOf(d)
	_, ok := slices.BinarySearchFunc(ix.sorted, k, func(i int32, k key) int { return ix.entries[i].key.compare(k) })
	return ok
}

type indexJSON struct {
	SchemaVersion int                  `json:"schemaVersion"`
	Manifests     []indexDescriptorDoc `json:"manifests"`
}

type indexDescriptorDoc struct {
	MediaType   string         `json:"mediaType"`
	Digest      string         `json:"digest"`
	Size        int64          `json:"size"`
	Annotations annotationsDoc `json:"annotations"`
}

// annotationsDoc has the annotations that may contain a tag. They are the short tag of Deckhouse
// bundles, and the reference name of the OCI specification.
type annotationsDoc struct {
	ShortTag string `json:"io.deckhouse.image.short_tag"`
	RefName  string `json:"org.opencontainers.image.ref.name"`
}

// readIndex reads and parses the index.json of a layout. If this index.json is unchanged, the result is old.
func readIndex(ctx context.Context, l volume.Layout, old *index) (*index, error) {
	if size := l.Index.Size(); size > MaxIndex {
		return nil, fmt.Errorf("%d bytes, more than the %d that an index may have: %w", size, MaxIndex, errTooLarge)
	}
	data, err := readIndexFile(ctx, l.Index)
	if err != nil {
		return nil, err
	}
	if old != nil && sha256.Sum256(data) == old.sum {
		return old, nil
	}
	return parseIndex(data, l.Path)
}

// readIndexFile reads an index.json. If this is a plain file, not an entry of an archive, its
// content may be newer than the scan.
func readIndexFile(ctx context.Context, where extent.List) ([]byte, error) {
	if _, _, isObject := volume.ObjectOf(where); len(where) == 1 && where[0].Whole && !isObject {
		data, err := extent.ReadFile(ctx, where[0].File, MaxIndex)
		if errors.Is(err, extent.ErrTooLong) {
			err = fmt.Errorf("%w: %w", err, errTooLarge)
		}
		return data, err
	}
	return where.ReadAll(ctx)
}

var errTooLarge = errors.New("too large")

// parseIndex parses the index.json of the layout at path.
func parseIndex(data []byte, path string) (*index, error) {
	var doc indexJSON
	if err := json.Unmarshal(data, &doc); err != nil {
		return nil, fmt.Errorf("not an OCI image index: %w", err)
	}
	if doc.SchemaVersion != 2 && doc.Manifests == nil {
		return nil, errors.New("not an OCI image index: no schemaVersion and no manifests")
	}
	ix := &index{sum: sha256.Sum256(data), entries: make([]entry, 0, len(doc.Manifests))}
	commons := map[common]*common{}
	for i, d := range doc.Manifests {
		ix.add(i, d, path, commons)
	}
	ix.dropForeignTags(path)
	ix.packTags()
	return ix, nil
}

func (ix *index) add(i int, d indexDescriptorDoc, path string, commons map[common]*common) {
	tag := tagOf(d.Annotations)
	dg, err := digest.Parse(d.Digest)
	if err != nil {
		ix.addProblem(Problem{Kind: Damaged, Tags: tagList(tag),
			Reason: fmt.Sprintf("descriptor %d: digest %.100q: %v", i, d.Digest, err)})
		return
	}
	ix.ballot.add(d.Annotations, path)
	if tag != "" && !names.IsTag(tag) {
		ix.addProblem(Problem{Kind: IllegalName, Tags: tagList(tag), Digest: dg, Reason: "not a legal tag; served by digest only"})
		tag = ""
	}
	c := common{mediaType: d.MediaType, byDigest: isDigestTag(d.Annotations.ShortTag)}
	if d.Annotations.ShortTag == "" {
		c.repository = repositoryOf(d.Annotations.RefName)
	}
	k, plain := keyOf(dg)
	if !plain {
		c.digest = dg
	}
	shared := commons[c]
	if shared == nil {
		shared = new(common)
		*shared = c
		shared.mediaType = unique.Make(c.mediaType).Value()
		commons[c] = shared
	}
	ix.entries = append(ix.entries, entry{k, d.Size, tag, shared, int32(i)}) // i fits into 32 bits, because MaxIndex limits the file
}

// withoutTags returns a copy of the index without tags.
func (ix *index) withoutTags() *index {
	bare := &index{sum: ix.sum, entries: slices.Clone(ix.entries), ballot: ix.ballot, named: ix.named, problems: ix.problems}
	for i := range bare.entries {
		bare.entries[i].tag = ""
	}
	return bare
}

// packTags puts the tags of all entries into one string, to save memory. Most tags are so short
// that separate strings would need twice the memory.
func (ix *index) packTags() {
	var all strings.Builder
	for _, e := range ix.entries {
		all.WriteString(e.tag)
	}
	rest := strings.Clone(all.String()) // the clone has no spare capacity
	for i := range ix.entries {
		n := len(ix.entries[i].tag)
		ix.entries[i].tag, rest = rest[:n], rest[n:]
	}
}

// dropForeignTags sets ix.named. If references name several repositories, it removes the tags of
// repositories other than that of the layout at path. It does not do so in a root layout, because
// its owner depends on the tree: see [findOwner].
func (ix *index) dropForeignTags(path string) {
	for _, e := range ix.entries {
		if named := e.common.repository; named != "" && (len(ix.named) == 0 || named != ix.named[len(ix.named)-1]) {
			ix.named = append(ix.named, named)
		}
	}
	slices.Sort(ix.named)
	ix.named = slices.Compact(ix.named)
	if path == "." || len(ix.named) < 2 {
		return
	}
	for i := range ix.entries {
		e := &ix.entries[i]
		if e.common.repository == "" || mayBelong(e.common.repository, path) || e.tag == "" {
			continue
		}
		ix.addProblem(foreignTagProblem(e, path))
		e.tag = ""
	}
}

// isForeign reports whether a descriptor belongs to a repository other than owner. It can be true
// only in a root layout with images of several repositories.
func (p *indexedLayout) isForeign(e *entry, owner string) bool {
	return p.hasSeveral() && e.common.repository != "" && e.common.repository != owner
}

// hasSeveral reports whether this is a root layout with images of several repositories.
func (p *indexedLayout) hasSeveral() bool { return p.path == "." && len(p.index.named) > 1 }

// mayBelong reports whether the layout at path, with a suitable root, could have this repository
// name.
func mayBelong(repository, path string) bool {
	return repository == path || strings.HasSuffix(repository, "/"+path)
}

// foreignTagProblem returns the problem for a descriptor whose tag is ignored, because the layout
// belongs to owner. If owner is empty, no single repository owns the layout.
func foreignTagProblem(e *entry, owner string) Problem {
	p := Problem{Kind: Conflict, Tags: tagList(e.tag), Digest: e.digest()}
	if owner == "" {
		p.Reason = fmt.Sprintf("the image's reference contains the repository %s, but the layout contains images of several repositories and is not served under the name of exactly one of them: served by digest only; "+
			"move each image to a layout of its own, or choose one repository with --root-repository %[1]s", e.common.repository)
		return p
	}
	p.Reason = fmt.Sprintf("the image's reference contains the repository %s, but the layout belongs to %s: served by digest only; move the image to a layout of its own", e.common.repository, owner)
	return p
}

// maxProblems is the maximum number of problems that are listed per index and per repository.
const maxProblems = 1000

func (ix *index) addProblem(p Problem) { ix.problems = appendBounded(ix.problems, p) }

// appendBounded appends p. At the limit, it appends only one problem that says that there are more.
func appendBounded(ps []Problem, p Problem) []Problem {
	switch {
	case len(ps) < maxProblems:
		return append(ps, p)
	case len(ps) == maxProblems:
		return append(ps, Problem{Kind: p.Kind, Reason: fmt.Sprintf("more than %d problems: the rest is not listed", maxProblems)})
	}
	return ps
}

// tagOf returns the tag in the annotations of a descriptor, or an empty string. The short tag takes
// precedence over the tag in the reference name. If the short tag is a digest, as sha256:HEX or
// @sha256:HEX, there is no tag. The tag may be illegal.
func tagOf(a annotationsDoc) string {
	switch {
	case isDigestTag(a.ShortTag):
		return ""
	case a.ShortTag != "":
		return a.ShortTag
	}
	if !strings.ContainsAny(a.RefName, "/:@") {
		return a.RefName
	}
	return names.ParseReference(a.RefName).Tag
}

// isDigestTag reports whether a short tag is a digest, which means that there is no tag
// (deckhouse-cli, docs/mirror-bundle-layout.md of 2026-10-01, section 8.7).
func isDigestTag(short string) bool {
	if !strings.HasPrefix(strings.TrimPrefix(short, "@"), "sha256:") {
		return false
	}
	_, err := digest.Parse(strings.TrimPrefix(short, "@"))
	return err == nil
}

// repositoryOf returns the repository in a reference, without the host. It is empty if the
// reference is only a tag.
func repositoryOf(ref string) string {
	if !strings.ContainsAny(ref, "/:@") {
		return ""
	}
	return unique.Make(names.ParseReference(ref).Path).Value()
}
