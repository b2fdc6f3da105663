package pull

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/importer/bundle"
	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/platform"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// Add plans an image for a layout under a tag, and reports whether the image exists. reference is
// the image's tag or digest in the registry. If the image is missing, Add records a problem.
func (d *Draft) Add(ctx context.Context, l *Layout, tag, reference string) (bool, error) {
	ok, err := d.AddIfThere(ctx, l, tag, reference)
	if err == nil && !ok {
		d.AddLayoutProblem(l, newMissing(l.Repository, reference, problem.Missing), tag)
	}
	return ok, err
}

// AddIfThere plans an image like Add. If the image is missing, it records no problem.
func (d *Draft) AddIfThere(ctx context.Context, l *Layout, tag, reference string) (bool, error) {
	return d.addNamed(ctx, l, tag, reference, reference)
}

// Alias plans an image, if it exists, under a tag that differs from its tag in the registry. The
// image's name in the bundle's index contains this new tag, as in bundles of d8.
func (d *Draft) Alias(ctx context.Context, l *Layout, tag, reference string) (bool, error) {
	return d.addNamed(ctx, l, tag, reference, tag)
}

// addNamed plans an image, if it exists, under a tag. The image's name in the index contains name.
func (d *Draft) addNamed(ctx context.Context, l *Layout, tag, reference, name string) (bool, error) {
	image, ok, err := d.Choose(ctx, l, tag, reference)
	if err != nil || !ok || image.Digest == "" || l.skipped[image.Digest] {
		return ok, err // for an unusable image, Choose has recorded a problem
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	l.images[cmp.Or(tag, image.Digest.String())] = bundle.Image{Tag: tag, Reference: d.Source.Name(l.Repository, name), Descriptor: image}
	l.digests[image.Digest] = true
	return true, nil
}

// ImageOf returns the image that is planned under a tag of a layout.
func (d *Draft) ImageOf(l *Layout, tag string) (closure.Descriptor, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i, ok := l.images[tag]
	return i.Descriptor, ok
}

// Choose returns the image that a layout gets under a tag, and whether the reference exists. If the
// reference leads to an index, Choose chooses the image for the layout's platform. If the image is
// unusable, Choose records a problem and returns a zero descriptor.
func (d *Draft) Choose(ctx context.Context, l *Layout, tag, reference string) (image closure.Descriptor, ok bool, err error) {
	image, err = d.Source.Resolve(ctx, l.Repository, reference)
	switch {
	case IsAbsent(err):
		return image, false, nil
	case IsUnusable(err):
		d.AddLayoutProblem(l, newMissing(l.Repository, reference, err.Error()), tag)
		return closure.Descriptor{}, true, nil
	case err != nil:
		return image, false, err
	}
	image, err = d.choosePlatform(ctx, l, tag, reference, image)
	return image, true, err
}

// choosePlatform returns the manifest for the layout's platform if image is an index. If the index
// has no such manifest, it records a problem and returns a zero descriptor. An index that is
// requested by digest is kept, because clusters request this digest, too. Only a platform in the
// options changes that.
func (d *Draft) choosePlatform(ctx context.Context, l *Layout, tag, reference string, image closure.Descriptor) (closure.Descriptor, error) {
	want := l.rules.Platform
	if digest.Digest(reference).Validate() == nil {
		want = d.Platform
	}
	if want == nil || image.MediaType != specs.MediaTypeImageIndex && image.MediaType != closure.DockerManifestList {
		return image, nil
	}
	body, err := d.Source.Manifest(ctx, l.Repository, image.Digest)
	if err != nil {
		return image, err
	}
	var index specs.Index
	if err := json.Unmarshal(body, &index); err != nil {
		d.AddLayoutProblem(l, newMissing(l.Repository, reference, fmt.Sprintf("malformed index: %v", err)), tag)
		return closure.Descriptor{}, nil
	}
	for _, m := range index.Manifests {
		if platform.Same(m.Platform, (*specs.Platform)(want)) {
			return d.child(ctx, l, tag, m.Digest)
		}
	}
	if names.IsDigestTag(reference) || !slices.ContainsFunc(index.Manifests, func(m specs.Descriptor) bool { return m.Platform != nil }) {
		return image, nil // without platforms in the index, keep the index
	}
	d.AddLayoutProblem(l, newMissing(l.Repository, reference, fmt.Sprintf("no image for %s in its index", want)), tag)
	return closure.Descriptor{}, nil
}

func (d *Draft) child(ctx context.Context, l *Layout, tag string, child digest.Digest) (closure.Descriptor, error) {
	image, err := d.Source.Resolve(ctx, l.Repository, child.String())
	if !IsAbsent(err) && !IsUnusable(err) {
		return image, err
	}
	reason := err.Error()
	if IsAbsent(err) {
		reason = "missing, although an index lists it"
	}
	d.AddLayoutProblem(l, newMissing(l.Repository, child.String(), reason), tag)
	return closure.Descriptor{}, nil
}

// IsThere reports whether the source has a tag. If a HEAD request fails with a status other than
// 404, IsThere sends a GET request, because some proxies answer only GET.
func (d *Draft) IsThere(ctx context.Context, repository, tag string) (bool, error) {
	_, err := d.Source.registry.HeadManifest(ctx, repository, tag)
	if err != nil && !IsAbsent(err) {
		_, err = d.Source.Resolve(ctx, repository, tag)
	}
	if IsAbsent(err) {
		return false, nil
	}
	return err == nil, err
}

// UnusableError reports content of the source that exists but cannot be used.
type UnusableError struct{ Err error }

func (e *UnusableError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *UnusableError) Unwrap() error { return e.Err }

// IsUnusable reports whether an error means that a manifest exists but cannot be used.
func IsUnusable(err error) bool {
	var unusable *UnusableError
	return errors.As(err, &unusable) || errors.Is(err, client.ErrMismatch)
}
