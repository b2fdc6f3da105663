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

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// DifferenceKind is a kind of difference.
type DifferenceKind string

// The kinds.
const (
	Missing   DifferenceKind = "missing"
	Different DifferenceKind = "different"  // a tag leads to another digest
	WrongSize DifferenceKind = "wrong-size" // a manifest or blob has another size
	Untold    DifferenceKind = "untold"     // a referrer is not listed for its subject
)

// Difference is something that is missing from a registry or differs from the plan.
type Difference struct {
	Kind       DifferenceKind `json:"kind"`
	Repository string         `json:"repository"`
	Reference  string         `json:"reference"` // tag, or digest of a manifest or blob
	Digest     digest.Digest  `json:"digest"`    // according to the plan
	Found      string         `json:"found"`     // what the registry has instead; empty if nothing

	blob bool // it concerns a blob
}

func (d Difference) String() string {
	s := fmt.Sprintf("%s: %s %s", d.Kind, d.Repository, d.Reference)
	if d.Reference != d.Digest.String() && d.Digest != "" {
		s += " → " + d.Digest.String()
	}
	if d.Found != "" {
		s += ", there is " + d.Found
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
	// LeftOut are manifests that are missing or damaged in the sources: they were not compared.
	LeftOut []layoutstore.Problem `json:"gaps"`
	// Unproven describes what the registry does not allow to compare.
	Unproven []string `json:"unproven"`
	// Notices describes what could not be determined and is not a failure.
	Notices []string `json:"notices"`
	// NeedsCheck is set if a push finds a difference only with Options.CheckBlobs.
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
		fmt.Fprintf(b, "%d differences\n", len(c.Differences))
	case len(c.LeftOut) > 0, len(c.Unproven) > 0:
		fmt.Fprintln(b, "everything that was compared is there")
	default:
		fmt.Fprintln(b, "all there")
	}
	return b.Flush()
}

// Compare compares a registry with a plan, and writes nothing. It checks each tag, the bytes of
// each manifest, the size of each blob in each repository, and whether referrers are listed for
// their subjects. Discovery tags have to exist, with any image. What the plan leaves out is not
// compared. Errors: *Error if a request fails; the context's.
func Compare(ctx context.Context, c *client.Client, p *Plan, jobs int) (*Comparison, error) {
	x := &comparing{c: c, there: map[place]bool{}, result: Comparison{Registry: p.Destination.String(), Compared: p.Totals(), Differences: []Difference{}, Extra: []Extra{}, LeftOut: append([]layoutstore.Problem{}, p.LeftOut...), Unproven: []string{}, Notices: []string{}}}
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

// needsCheck reports whether content is missing that an existing manifest needs.
func (x *comparing) needsCheck(p *Plan) bool {
	behind := map[[2]string]bool{} // repository, digest
	for _, r := range p.Repositories {
		for _, m := range r.Manifests {
			if !x.there[place{r, m.Digest}] {
				continue
			}
			behind[[2]string{r.Name, m.Digest.String()}] = true
			for _, b := range m.Blobs {
				behind[[2]string{r.Name, b.Digest.String()}] = true
			}
		}
	}
	return slices.ContainsFunc(x.result.Differences, func(d Difference) bool {
		return (d.blob || d.Kind == Untold) && behind[[2]string{d.Repository, d.Digest.String()}]
	})
}

// isNeeded reports whether anything but discovery images needs the blob.
func isNeeded(r *Repository, b *Blob) bool {
	return slices.ContainsFunc(r.Manifests, func(m *Manifest) bool { return !m.Discovery && slices.Contains(m.Blobs, b) })
}

type comparing struct {
	c      *client.Client
	mu     sync.Mutex
	result Comparison
	there  map[place]bool // manifests that the registry has
}

func (x *comparing) differ(kind DifferenceKind, r *Repository, reference string, d digest.Digest, found string) {
	x.add(Difference{Kind: kind, Repository: r.Name, Reference: reference, Digest: d, Found: found})
}

func (x *comparing) add(d Difference) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.result.Differences = append(x.result.Differences, d)
}

// tags lists the tags of a repository to find extra tags and missing discovery tags.
func (x *comparing) tags(ctx context.Context, r *Repository) error {
	tags, err := x.c.Tags(ctx, r.Name)
	if client.IsInconclusive(err) {
		return x.discoveryTags(ctx, r, err)
	}
	if err != nil && !errors.Is(err, client.ErrNotFound) {
		return sided("list tags", r.Name, "", Diagnose(err))
	}
	there := map[string]bool{}
	for _, tag := range tags {
		there[tag] = true
	}
	planned := map[string]bool{}
	for _, t := range r.Tags {
		planned[t.Name] = true
		if t.Discovery && !there[t.Name] {
			x.differ(Missing, r, t.Name, t.Digest, "")
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, tag := range tags {
		if !planned[tag] {
			x.result.Extra = append(x.result.Extra, Extra{r.Name, tag})
		}
	}
	return nil
}

// discoveryTags requests the discovery tags of a repository one by one. reason is why its tags
// cannot be listed.
func (x *comparing) discoveryTags(ctx context.Context, r *Repository, reason error) error {
	for _, t := range r.Tags {
		if !t.Discovery {
			continue
		}
		_, err := headManifest(ctx, x.c, r.Name, t.Name)
		if errors.Is(err, client.ErrNotFound) {
			x.differ(Missing, r, t.Name, t.Digest, "")
		} else if err != nil {
			return sided("head manifest", r.Name, t.Digest, Diagnose(err))
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.result.Notices = append(x.result.Notices, fmt.Sprintf("other tags of %s: %v", r.Name, reason))
	return nil
}

// manifest fetches a manifest by its digest, which proves its bytes, and compares its tags.
func (x *comparing) manifest(ctx context.Context, r *Repository, m *Manifest) error {
	_, err := x.c.Manifest(ctx, r.Name, m.Digest.String())
	switch {
	case errors.Is(err, client.ErrMismatch):
		x.differ(Different, r, m.Digest.String(), m.Digest, "other bytes")
	case err != nil && !errors.Is(err, client.ErrNotFound):
		return sided("get manifest", r.Name, m.Digest, Diagnose(err))
	}
	found, differs := len(m.Tags) == 0 && err == nil, false
	for _, tag := range m.Tags {
		leads, err := x.tag(ctx, r, m, tag)
		if err != nil {
			return err
		}
		found, differs = found || leads, differs || !leads
	}
	if found {
		x.mu.Lock()
		x.there[place{r, m.Digest}] = true
		x.mu.Unlock()
	}
	if errors.Is(err, client.ErrNotFound) && !differs {
		// No difference of a tag reports it.
		x.differ(Missing, r, m.Digest.String(), m.Digest, "")
	}
	if m.Refs.Subject == nil || err != nil {
		return nil
	}
	return x.referrer(ctx, r, m)
}

// tag compares a tag, and reports whether it leads to the manifest.
func (x *comparing) tag(ctx context.Context, r *Repository, m *Manifest, tag string) (leads bool, err error) {
	d, err := headManifest(ctx, x.c, r.Name, tag)
	switch {
	case errors.Is(err, client.ErrNotFound):
		x.differ(Missing, r, tag, m.Digest, "")
	case err != nil:
		return false, sided("head manifest", r.Name, m.Digest, Diagnose(err))
	case d.Digest != m.Digest:
		x.differ(Different, r, tag, m.Digest, d.Digest.String())
	case d.Size != m.Size:
		x.differ(WrongSize, r, tag, m.Digest, insteadOf(d.Size, m.Size))
	default:
		return true, nil
	}
	return false, nil
}

func (x *comparing) referrer(ctx context.Context, r *Repository, m *Manifest) error {
	found, err := x.c.Referrers(ctx, r.Name, m.Refs.Subject.Digest)
	if err != nil {
		return sided("list referrers", r.Name, m.Digest, Diagnose(err))
	}
	switch {
	case slices.ContainsFunc(found.List, func(d specs.Descriptor) bool { return d.Digest == m.Digest }):
	case found.Unknown != nil:
		x.mu.Lock()
		defer x.mu.Unlock()
		x.result.Unproven = append(x.result.Unproven, fmt.Sprintf("whether %s@%s is listed as a referrer: %v", r.Name, m.Digest, found.Unknown))
	default:
		x.differ(Untold, r, m.Digest.String(), m.Digest, "")
	}
	return nil
}

func (x *comparing) blob(ctx context.Context, r *Repository, b *Blob) error {
	n, err := x.c.HeadBlob(ctx, r.Name, b.Digest)
	switch {
	case errors.Is(err, client.ErrNotFound):
		x.add(Difference{Kind: Missing, Repository: r.Name, Reference: b.Digest.String(), Digest: b.Digest, blob: true})
	case err != nil:
		return sided("head blob", r.Name, b.Digest, Diagnose(err))
	case n != b.Size && n != client.UnknownSize:
		x.add(Difference{Kind: WrongSize, Repository: r.Name, Reference: b.Digest.String(), Digest: b.Digest, Found: insteadOf(n, b.Size), blob: true})
	}
	return nil
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
