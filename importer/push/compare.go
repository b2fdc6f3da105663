package push

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/dustin/go-humanize/english"
	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// DifferenceKind is a kind of difference.
type DifferenceKind string

// The kinds of differences.
const (
	Missing DifferenceKind = "missing"
	// Different means that a tag leads to a different digest.
	Different DifferenceKind = "different"
	// WrongSize means that a manifest or blob has a different size.
	WrongSize DifferenceKind = "wrong-size"
	// NotListed means that a referrer is not listed for its subject.
	NotListed DifferenceKind = "untold"
)

// Difference is a tag, manifest or blob that is missing from a registry or differs from the plan.
type Difference struct {
	Kind       DifferenceKind `json:"kind"`
	Repository string         `json:"repository"`
	// Reference is the tag, or the digest of a manifest or blob.
	Reference string `json:"reference"`
	// Digest is the digest in the plan.
	Digest digest.Digest `json:"digest"`
	// Found says what the registry has instead. It is empty if the registry has nothing.
	Found string `json:"found"`

	blob bool // whether the difference concerns a blob
}

// manifestDifference compares a planned manifest with the response to a HEAD request for it. It
// returns the difference, or nil if there is none. The error is an *Error or the context's error.
func manifestDifference(r *Repository, reference string, want digest.Digest, size int64, got specs.Descriptor, err error) (*Difference, error) {
	d := &Difference{Kind: Missing, Repository: r.Name, Reference: reference, Digest: want}
	switch {
	case errors.Is(err, client.ErrNotFound):
	case err != nil:
		return nil, withSide("head manifest", r.Name, want, Diagnose(err))
	case got.Digest != want:
		d.Kind, d.Found = Different, got.Digest.String()
	case got.Size != size:
		d.Kind, d.Found = WrongSize, fmt.Sprintf("a size of %d bytes instead of %d", got.Size, size)
	default:
		return nil, nil
	}
	return d, nil
}

// blobDifference is like manifestDifference, but for a blob.
func blobDifference(r *Repository, b *Blob, size int64, err error) (*Difference, error) {
	d := &Difference{Kind: Missing, Repository: r.Name, Reference: b.Digest.String(), Digest: b.Digest, blob: true}
	switch {
	case errors.Is(err, client.ErrNotFound):
	case err != nil:
		return nil, withSide("head blob", r.Name, b.Digest, Diagnose(err))
	case size != b.Size && size != client.UnknownSize:
		d.Kind, d.Found = WrongSize, fmt.Sprintf("a size of %d bytes instead of %d", size, b.Size)
	default:
		return nil, nil
	}
	return d, nil
}

func (d Difference) String() string {
	s := fmt.Sprintf("%s: %s %s", d.Kind, d.Repository, d.Reference)
	if d.Reference != d.Digest.String() && d.Digest != "" {
		s += " → " + d.Digest.String()
	}
	if d.Found != "" {
		s += ", the registry has " + d.Found
	}
	return s
}

// Extra is a tag of the registry that the plan does not have. It is not a difference.
type Extra struct {
	Repository string `json:"repository"`
	Tag        string `json:"tag"`
}

// Comparison is the result of comparing a registry with a plan.
type Comparison struct {
	Registry    string       `json:"registry"`
	Compared    Totals       `json:"compared"`
	Differences []Difference `json:"differences"`
	Extra       []Extra      `json:"extra"`

	// LeftOut lists the content that the plan leaves out. It was not compared.
	LeftOut []layoutstore.Problem `json:"gaps"`
	// Unproven describes content that the registry does not allow to be compared.
	Unproven []string `json:"unproven"`
	// Notices say what the comparison could not find out. They do not make the comparison fail.
	Notices []string `json:"notices"`
	// NeedsCheck means that a push repairs some differences only with Options.CheckBlobs.
	NeedsCheck bool `json:"needsCheck"`
}

// WriteText prints the comparison for people.
func (c *Comparison) WriteText(w io.Writer) error {
	b := bufio.NewWriter(w)
	for _, d := range c.Differences {
		fmt.Fprintln(b, d)
	}
	for _, left := range c.LeftOut {
		fmt.Fprintf(b, "not compared: %s\n", left)
	}
	for _, u := range c.Unproven {
		fmt.Fprintf(b, "not compared: %s\n", u)
	}
	for _, n := range c.Notices {
		fmt.Fprintf(b, "unknown: %s\n", n)
	}
	for _, e := range c.Extra {
		fmt.Fprintf(b, "only in the registry: %s %s\n", e.Repository, e.Tag)
	}
	t := c.Compared
	fmt.Fprintf(b, "compared %d repositories, %d tags, %d discovery tags, %d manifests and %d blobs with %s: ", t.Repositories, t.Tags, t.DiscoveryTags, t.Manifests, t.Blobs, c.Registry)
	switch {
	case len(c.Differences) > 0:
		fmt.Fprintln(b, english.Plural(len(c.Differences), "difference", ""))
	case len(c.LeftOut) > 0, len(c.Unproven) > 0:
		fmt.Fprintln(b, "the registry has everything that was compared")
	default:
		fmt.Fprintln(b, "all there")
	}
	return b.Flush()
}

// Compare compares a registry with a plan, and writes nothing. It checks each tag, the bytes of
// each manifest, the size of each blob in each repository, and whether referrers are listed for
// their subjects. A discovery tag only has to exist, whatever its image is. If a request fails, the
// error is an *Error or the context's error.
func Compare(ctx context.Context, c *client.Client, p *Plan, jobs int) (*Comparison, error) {
	x := &comparing{c: c, existing: map[place]bool{}, result: Comparison{Registry: p.Destination.String(), Compared: p.Totals(), Differences: []Difference{}, Extra: []Extra{}, LeftOut: append([]layoutstore.Problem{}, p.LeftOut...), Unproven: []string{}, Notices: []string{}}}
	var tasks []*task
	for _, r := range p.Repositories {
		list := &task{run: func(ctx context.Context) error { return x.tags(ctx, r) }}
		tasks = append(tasks, list)
		for _, m := range r.Manifests {
			if !m.Discovery {
				tasks = append(tasks, &task{run: func(ctx context.Context) error { return x.manifest(ctx, r, m) }})
			}
		}
	}
	for _, b := range p.Blobs {
		for _, r := range b.Repositories {
			if isNeeded(r, b) {
				tasks = append(tasks, &task{run: func(ctx context.Context) error { return x.blob(ctx, r, b) }})
			}
		}
	}
	if err := perform(ctx, max(jobs, 1), tasks); err != nil {
		return nil, err
	}
	x.sort()
	x.result.NeedsCheck = x.needsCheck(p)
	return &x.result, nil
}

// needsCheck reports whether some differences need a push with Options.CheckBlobs. Other pushes
// skip each manifest that the registry has, even if its blobs are missing or it is not listed as a
// referrer.
func (x *comparing) needsCheck(p *Plan) bool {
	skipped := map[[2]string]bool{} // repository, digest
	for _, r := range p.Repositories {
		for _, m := range r.Manifests {
			if !x.existing[place{r, m.Digest}] {
				continue
			}
			skipped[[2]string{r.Name, m.Digest.String()}] = true
			for _, b := range m.Blobs {
				skipped[[2]string{r.Name, b.Digest.String()}] = true
			}
		}
	}
	return slices.ContainsFunc(x.result.Differences, func(d Difference) bool {
		return (d.blob || d.Kind == NotListed) && skipped[[2]string{d.Repository, d.Digest.String()}]
	})
}

// isNeeded reports whether a manifest that is not a discovery image needs the blob.
func isNeeded(r *Repository, b *Blob) bool {
	return slices.ContainsFunc(r.Manifests, func(m *Manifest) bool { return !m.Discovery && slices.Contains(m.Blobs, b) })
}

type comparing struct {
	c        *client.Client
	mu       sync.Mutex
	result   Comparison
	existing map[place]bool // the planned manifests that the registry has
}

func (x *comparing) record(change func(*Comparison)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	change(&x.result)
}

func (x *comparing) addDifference(d Difference) {
	x.record(func(c *Comparison) { c.Differences = append(c.Differences, d) })
}

func (x *comparing) addMissing(r *Repository, reference string, d digest.Digest) {
	x.addDifference(Difference{Kind: Missing, Repository: r.Name, Reference: reference, Digest: d})
}

// tags lists the tags of a repository, and finds extra tags and missing discovery tags.
func (x *comparing) tags(ctx context.Context, r *Repository) error {
	tags, err := x.c.Tags(ctx, r.Name)
	if client.IsInconclusive(err) {
		return x.discoveryTags(ctx, r, err)
	}
	if err != nil && !errors.Is(err, client.ErrNotFound) {
		return withSide("list tags", r.Name, "", Diagnose(err))
	}
	extra := map[string]bool{}
	for _, tag := range tags {
		extra[tag] = true
	}
	for _, t := range r.Tags {
		if t.Discovery && !extra[t.Name] {
			x.addMissing(r, t.Name, t.Digest)
		}
		delete(extra, t.Name)
	}
	x.record(func(c *Comparison) {
		for tag := range extra {
			c.Extra = append(c.Extra, Extra{r.Name, tag})
		}
	})
	return nil
}

// discoveryTags requests the discovery tags of a repository one by one, because its tags cannot be
// listed. reason says why.
func (x *comparing) discoveryTags(ctx context.Context, r *Repository, reason error) error {
	for _, t := range r.Tags {
		if !t.Discovery {
			continue
		}
		_, err := headManifest(ctx, x.c, r.Name, t.Name)
		if errors.Is(err, client.ErrNotFound) {
			x.addMissing(r, t.Name, t.Digest)
		} else if err != nil {
			return withSide("head manifest", r.Name, t.Digest, Diagnose(err))
		}
	}
	x.record(func(c *Comparison) {
		c.Notices = append(c.Notices, fmt.Sprintf("whether %s has tags that are not in the plan: %v", r.Name, reason))
	})
	return nil
}

// manifest fetches a manifest by its digest and compares its tags. The fetch proves the bytes of
// the manifest.
func (x *comparing) manifest(ctx context.Context, r *Repository, m *Manifest) error {
	_, err := x.c.Manifest(ctx, r.Name, m.Digest.String())
	switch {
	case errors.Is(err, client.ErrMismatch):
		x.addDifference(Difference{Kind: Different, Repository: r.Name, Reference: m.Digest.String(), Digest: m.Digest, Found: "other bytes"})
	case err != nil && !errors.Is(err, client.ErrNotFound):
		return withSide("get manifest", r.Name, m.Digest, Diagnose(err))
	}
	found, differs := len(m.Tags) == 0 && err == nil, false
	for _, tag := range m.Tags {
		d, err := headManifest(ctx, x.c, r.Name, tag)
		difference, err := manifestDifference(r, tag, m.Digest, m.Size, d, err)
		if err != nil {
			return err
		}
		if difference == nil {
			found = true
			continue
		}
		differs = true
		x.addDifference(*difference)
	}
	if found {
		x.record(func(*Comparison) { x.existing[place{r, m.Digest}] = true })
	}
	if errors.Is(err, client.ErrNotFound) && !differs {
		// No tag is reported as missing or different, so report the manifest itself.
		x.addMissing(r, m.Digest.String(), m.Digest)
	}
	if m.Refs.Subject == nil || err != nil {
		return nil
	}
	return x.referrer(ctx, r, m)
}

func (x *comparing) referrer(ctx context.Context, r *Repository, m *Manifest) error {
	found, err := x.c.Referrers(ctx, r.Name, m.Refs.Subject.Digest)
	if err != nil {
		return withSide("list referrers", r.Name, m.Digest, Diagnose(err))
	}
	switch {
	case slices.ContainsFunc(found.List, func(d specs.Descriptor) bool { return d.Digest == m.Digest }):
	case found.Unknown != nil:
		x.record(func(c *Comparison) {
			c.Unproven = append(c.Unproven, fmt.Sprintf("whether the registry lists %s@%s as a referrer: %v", r.Name, m.Digest, found.Unknown))
		})
	default:
		x.addDifference(Difference{Kind: NotListed, Repository: r.Name, Reference: m.Digest.String(), Digest: m.Digest})
	}
	return nil
}

func (x *comparing) blob(ctx context.Context, r *Repository, b *Blob) error {
	n, err := x.c.HeadBlob(ctx, r.Name, b.Digest)
	difference, err := blobDifference(r, b, n, err)
	if difference != nil {
		x.addDifference(*difference)
	}
	return err
}

func (x *comparing) sort() {
	sortDifferences(x.result.Differences)
	slices.Sort(x.result.Unproven)
	slices.Sort(x.result.Notices)
	slices.SortFunc(x.result.Extra, func(a, b Extra) int {
		return cmp.Or(cmp.Compare(a.Repository, b.Repository), cmp.Compare(a.Tag, b.Tag))
	})
}

func sortDifferences(differences []Difference) {
	slices.SortFunc(differences, func(a, b Difference) int {
		return cmp.Or(cmp.Compare(a.Repository, b.Repository), cmp.Compare(a.Reference, b.Reference), cmp.Compare(a.Kind, b.Kind))
	})
}
