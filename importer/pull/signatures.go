package pull

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/edition"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// attestation ends the tag of a VEX attestation.
const attestation = ".att"

const (
	// maxCompanions is how many manifests that refer to the images of a layout, or to each
	// other, are pulled at most; maxDepth how long their chain may be. A registry can make
	// up new ones for each that was asked for.
	maxCompanions = 50_000
	maxDepth      = 16
	// fewerReferrers is what to do about too many.
	fewerReferrers = "have the registry cleaned up, or pull less with --tag or --repository"
)

// suffixes end the tags of what belongs to the image that they name: attestations,
// signatures, SBOMs; nothing, the list of its referrers.
func suffixes() []string { return []string{attestation, ".sig", ".sbom", ""} }

func sortedKeys[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

// companions plans what belongs to the images of a layout and their children: by tags
// that name a digest, and by the referrers API; and what belongs to that.
func (p *planner) companions(ctx context.Context, l *planned) error {
	seen := map[digest.Digest]bool{}
	for depth := 0; ; depth++ {
		next, err := p.unseen(ctx, l, seen)
		if err != nil || len(next) == 0 {
			return err
		}
		if depth > maxDepth {
			return fmt.Errorf("%s: %s refers to an image over more than %d others, which signatures do not: %s", l.Repository, next[0], maxDepth, fewerReferrers)
		}
		// The first tells whether there is a referrers API.
		api, err := p.referrers(ctx, l, next[0])
		if err != nil {
			return err
		}
		if rest := next[1:]; api {
			if err := p.each(ctx, len(rest), func(ctx context.Context, i int) error {
				_, err := p.referrers(ctx, l, rest[i])
				return err
			}); err != nil {
				return err
			}
		}
		if err := p.each(ctx, len(next), func(ctx context.Context, i int) error { return p.byTag(ctx, l, next[i]) }); err != nil {
			return err
		}
	}
}

// unseen are the digests of the layout's images, and of the children of those, that
// are not seen yet.
func (p *planner) unseen(ctx context.Context, l *planned, seen map[digest.Digest]bool) (found []digest.Digest, err error) {
	var todo []digest.Digest
	for _, key := range sortedKeys(l.images) {
		todo = append(todo, l.images[key].Digest)
	}
	for len(todo) > 0 {
		d := todo[0]
		todo = todo[1:]
		if seen[d] {
			continue
		}
		seen[d] = true
		found = append(found, d)
		body, err := p.src.body(ctx, l.Repository, d)
		if absent(err) || errors.Is(err, client.ErrMismatch) {
			continue // which is found out by the walk
		}
		if err != nil {
			return nil, err
		}
		if refs, err := closure.Parse(body); err == nil {
			for _, c := range refs.Children {
				todo = append(todo, c.Digest)
			}
		}
	}
	return found, nil
}

// referrers plans what the referrers API lists for d, and says whether there is one.
func (p *planner) referrers(ctx context.Context, l *planned, d digest.Digest) (api bool, err error) {
	found, err := p.src.referrers(ctx, l.Repository, d)
	api = found.API
	if err != nil || !api {
		return api, err
	}
	others, err := p.others(l, found.List)
	if err != nil {
		return api, err
	}
	for _, d := range others {
		if _, err := p.add(ctx, l, "", d.String()); err != nil {
			return api, err
		}
	}
	return api, nil
}

// others are those of a list of referrers that the layout has not. It counts them: the
// error is that they are too many.
func (p *planner) others(l *planned, list []specs.Descriptor) (others []digest.Digest, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range list {
		if !l.digests[r.Digest] {
			others = append(others, r.Digest)
		}
	}
	if l.companions += len(others); l.companions > maxCompanions {
		return nil, fmt.Errorf("%s: more than %d manifests refer to its images: %s", l.Repository, maxCompanions, fewerReferrers)
	}
	return others, nil
}

// attestIn says in which layout the attestations of another one's images are.
func (p *planner) attestIn(l, in *planned) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.attestations = in
}

// attest plans the attestations of a layout's images that a source may have: by the tag of
// an image, and where they are in another repository, by its digest. Those by digest in
// the same repository are companions.
func (p *planner) attest(ctx context.Context, l *planned) error {
	if p.Selection.SkipVexImages || len(p.Repositories) == 0 && !isAttested(l.Path) {
		return nil
	}
	in := l
	var tags []string
	p.mu.Lock()
	for _, i := range l.images {
		if i.Tag != "" && !strings.HasSuffix(i.Tag, attestation) && !names.IsDigestTag(i.Tag) {
			tags = append(tags, i.Tag+attestation)
		}
		if l.attestations != nil {
			in = l.attestations
			tags = append(tags, names.ReferrersTag(i.Digest)+attestation)
		}
	}
	p.mu.Unlock()
	slices.Sort(tags)
	return p.each(ctx, len(tags), func(ctx context.Context, i int) error { return p.addTagged(ctx, in, tags[i]) })
}

// isAttested reports whether the images of the layout at a path can have attestations:
// those of the platform, of modules and of packages.
func isAttested(path string) bool {
	return !edition.IsShared(path) && !strings.HasPrefix(path, "security/")
}

// addTagged plans what is there under a tag.
func (p *planner) addTagged(ctx context.Context, l *planned, tag string) error {
	if !names.IsTag(tag) {
		return nil // it is too long for one
	}
	ok, err := p.tagged(ctx, l.Repository, tag)
	if ok && err == nil {
		_, err = p.add(ctx, l, tag, tag)
	}
	return err
}

// byTag plans what is there under tags made of d.
func (p *planner) byTag(ctx context.Context, l *planned, d digest.Digest) error {
	for _, suffix := range suffixes() {
		if suffix == attestation && (p.Selection.SkipVexImages || l.attestations != nil) {
			continue
		}
		if err := p.addTagged(ctx, l, names.ReferrersTag(d)+suffix); err != nil {
			return err
		}
	}
	return nil
}

// tagged says whether a repository has a tag: by its list, or where none is to be had,
// by asking.
func (p *planner) tagged(ctx context.Context, repository, tag string) (bool, error) {
	if !p.Selection.ProxyRegistry {
		tags, err := p.src.tags(ctx, repository)
		if err == nil {
			return tags[tag], nil
		}
		if !absent(err) && !isRefused(err) && !errors.Is(err, client.ErrUnsupported) {
			return false, err
		}
	}
	return p.isThere(ctx, repository, tag)
}

// isThere asks for a tag. A HEAD that fails otherwise than with 404 is repeated as a
// GET: some proxies answer only that.
func (p *planner) isThere(ctx context.Context, repository, tag string) (bool, error) {
	_, err := p.src.registry.HeadManifest(ctx, repository, tag)
	if err != nil && !absent(err) {
		_, err = p.src.resolve(ctx, repository, tag)
	}
	if absent(err) {
		return false, nil
	}
	return err == nil, err
}
