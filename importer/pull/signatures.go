package pull

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

const (
	// attestation is the suffix of a VEX attestation's tag.
	attestation = ".att"
	// maxReferrers is the maximum number of referrers of a layout's images, including referrers of
	// referrers. maxDepth is the maximum length of a chain of referrers. Without limits, a
	// malicious registry could invent referrers forever.
	maxReferrers = 50_000
	maxDepth     = 16
	// fewerReferrers is the advice in errors about too many referrers.
	fewerReferrers = "have the registry cleaned up, or pull less with --tag or --repository"
)

func sortedKeys[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

// addReferring plans the signatures, attestations, SBOMs and other referrers of a layout's images
// and their children. It also plans the referrers of these referrers. It finds them by the
// referrers API, and by tags that contain a digest.
func (d *Draft) addReferring(ctx context.Context, l *Layout) error {
	seen := map[digest.Digest]bool{}
	for depth := 0; ; depth++ {
		next, err := d.unseen(ctx, l, seen)
		if err != nil || len(next) == 0 {
			return err
		}
		if depth > maxDepth {
			return fmt.Errorf("%s: %s refers to an image through more than %d other manifests, which signatures never do: %s", l.Repository, next[0], maxDepth, fewerReferrers)
		}
		// The first request shows whether the registry has a referrers API.
		api, err := d.addReferrers(ctx, l, next[0])
		if err != nil {
			return err
		}
		if rest := next[1:]; api {
			if err := d.Each(ctx, len(rest), func(ctx context.Context, i int) error {
				_, err := d.addReferrers(ctx, l, rest[i])
				return err
			}); err != nil {
				return err
			}
		}
		if err := d.Each(ctx, len(next), func(ctx context.Context, i int) error { return d.addByDigestTags(ctx, l, next[i]) }); err != nil {
			return err
		}
	}
}

// unseen returns the digests of the layout's images and their children, images first. It omits
// digests in seen, and adds the others to seen.
func (d *Draft) unseen(ctx context.Context, l *Layout, seen map[digest.Digest]bool) (found []digest.Digest, err error) {
	read := d.manifestOf(l)
	graph, err := closure.Walk(ctx, l.tops(), func(ctx context.Context, wanted digest.Digest) (body []byte, gap, err error) {
		if seen[wanted] {
			return nil, errSeen, nil // everything that this manifest leads to has been seen, too
		}
		return read(ctx, wanted)
	})
	if err != nil {
		return nil, err
	}
	add := func(image digest.Digest) {
		if !seen[image] {
			seen[image] = true
			found = append(found, image)
		}
	}
	for _, top := range l.tops() {
		add(top.Digest)
	}
	for _, m := range graph.Manifests {
		add(m.Digest)
	}
	return found, nil
}

// errSeen ends a traversal at a manifest that an earlier traversal has read.
var errSeen = errors.New("read before")

// addReferrers plans the manifests that the referrers API lists for an image. It reports whether
// the registry has this API.
func (d *Draft) addReferrers(ctx context.Context, l *Layout, image digest.Digest) (api bool, err error) {
	found, err := d.Source.referrers(ctx, l.Repository, image)
	api = found.API
	if err != nil || !api {
		return api, err
	}
	others, err := d.newReferrers(l, found.List)
	if err != nil {
		return api, err
	}
	for _, other := range others {
		if _, err := d.Add(ctx, l, "", other.String()); err != nil {
			return api, err
		}
	}
	return api, nil
}

// newReferrers returns the digests of listed referrers that the layout does not have yet. It fails
// if the layout gets too many referrers.
func (d *Draft) newReferrers(l *Layout, list []specs.Descriptor) (others []digest.Digest, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range list {
		if !l.digests[r.Digest] {
			others = append(others, r.Digest)
		}
	}
	if l.referrers += len(others); l.referrers > maxReferrers {
		return nil, fmt.Errorf("%s: more than %d manifests refer to its images: %s", l.Repository, maxReferrers, fewerReferrers)
	}
	return others, nil
}

// addByDigestTags plans all images whose tag contains the digest of an image.
func (d *Draft) addByDigestTags(ctx context.Context, l *Layout, image digest.Digest) error {
	for _, suffix := range []string{attestation, ".sig", ".sbom", ""} { // the referrers tag has no suffix
		if suffix == attestation && (l.rules.Attestations == NoAttestations || l.rules.AttestIn != nil) {
			continue
		}
		if err := d.addTagged(ctx, l, names.ReferrersTag(image)+suffix); err != nil {
			return err
		}
	}
	return nil
}

// addAttestations plans the attestations whose tag contains the tag of an image. If attestations
// are in another repository, it also plans those whose tag contains the digest of an image. In the
// same repository, addByDigestTags does this.
func (d *Draft) addAttestations(ctx context.Context, l *Layout) error {
	if l.rules.Attestations != AttestationsByTag {
		return nil
	}
	in := cmp.Or(l.rules.AttestIn, l)
	var tags []string
	d.mu.Lock()
	for _, i := range l.images {
		if i.Tag != "" && !strings.HasSuffix(i.Tag, attestation) && !names.IsDigestTag(i.Tag) {
			tags = append(tags, i.Tag+attestation)
		}
		if in != l {
			tags = append(tags, names.ReferrersTag(i.Digest)+attestation)
		}
	}
	d.mu.Unlock()
	slices.Sort(tags)
	return d.Each(ctx, len(tags), func(ctx context.Context, i int) error { return d.addTagged(ctx, in, tags[i]) })
}

func (d *Draft) addTagged(ctx context.Context, l *Layout, tag string) error {
	if !names.IsTag(tag) {
		return nil // the name is too long for a tag
	}
	ok, err := d.hasTag(ctx, l.Repository, tag)
	if ok && err == nil {
		_, err = d.Add(ctx, l, tag, tag)
	}
	return err
}

// hasTag reports whether a repository has a tag. It looks for the tag in the list of tags. If there
// is no list, it requests the tag.
func (d *Draft) hasTag(ctx context.Context, repository, tag string) (bool, error) {
	if !d.noTagLists {
		tags, err := d.Source.Tags(ctx, repository)
		if err == nil {
			return tags[tag], nil
		}
		if !IsAbsent(err) && !IsRefused(err) && !errors.Is(err, client.ErrUnsupported) {
			return false, err
		}
	}
	return d.IsThere(ctx, repository, tag)
}
