// Package pruning connects package prune with package ready. Package ready knows which images
// releases need, and judges the releases before and after a prune.
package pruning

import (
	"context"
	"fmt"
	"path"
	"slices"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/prune"
	"github.com/layoutproxy/layoutproxy/importer/ready"
	"github.com/layoutproxy/layoutproxy/layoutstore"
)

// New returns a pruner. The pruner reads which images the releases declare, and refuses a plan that
// would make a kept release less ready. Errors come from [prune.New].
func New(o prune.Options) (*prune.Pruner, error) {
	v := &verdicts{}
	o.Declared, o.Check = v.declared, v.check
	return prune.New(o)
}

// verdicts keeps the facts that its method declared has read, because its method check also needs
// them.
type verdicts struct{ facts ready.Facts }

func (v *verdicts) declared(ctx context.Context, s *layoutstore.Snapshot) (all prune.Declarations, err error) {
	if v.facts, err = ready.Snapshot(ctx, s, ready.Scope{}); err != nil {
		return all, err
	}
	packages, err := ready.Packages(ctx, s)
	if err != nil {
		return all, err
	}
	all.Platform = len(v.facts.Builds) > 0
	for _, b := range v.facts.Builds {
		all.Releases = append(all.Releases, build(b))
	}
	all.Channels = channels(".", v.facts.Channels)
	for _, m := range v.facts.Modules {
		all.Releases = append(all.Releases, versions(path.Join("modules", m.Name), "release", m)...)
		all.Channels = append(all.Channels, channels(path.Join("modules", m.Name), m.Channels)...)
	}
	for _, m := range packages {
		all.Releases = append(all.Releases, versions(path.Join("packages", m.Name), "version", m)...)
		all.Channels = append(all.Channels, channels(path.Join("packages", m.Name), m.Channels)...)
	}
	return all, nil
}

func build(b ready.Build) prune.Release {
	x := prune.Release{Of: ".", Tag: b.Tag, Unreadable: unreadable(b.Unreadable)}
	for _, i := range []ready.Image{b.Platform, b.Installer, b.Standalone, b.Entry} {
		x.Own = append(x.Own, place(i))
	}
	for _, i := range slices.Concat(b.Declared, b.Own) {
		x.Declared = append(x.Declared, place(i))
	}
	switch {
	case x.Unreadable != "":
	case b.OwnUnreadable != "":
		x.Unreadable = b.OwnUnreadable
	case b.Installer.State == ready.Damaged, b.Installer.State == ready.Missing && b.Own == nil:
		x.Unreadable = "its installer is " + string(b.Installer.State)
	}
	return x
}

func versions(at, entries string, m ready.Module) (all []prune.Release) {
	for _, v := range m.Versions {
		x := prune.Release{Of: at, Tag: v.Tag, Unreadable: unreadable(v.Unreadable),
			Own: []prune.Place{{Repository: at, Reference: v.Tag}, {Repository: path.Join(at, entries), Reference: v.Tag}}}
		for _, i := range v.Declared {
			x.Declared = append(x.Declared, place(i))
		}
		if v.Image.State == ready.Damaged && x.Unreadable == "" {
			x.Unreadable = "its image is damaged"
		}
		all = append(all, x)
	}
	return all
}

func unreadable(all []ready.Unreadable) string {
	if len(all) == 0 {
		return ""
	}
	return all[0].Detail
}

func place(i ready.Image) prune.Place {
	return prune.Place{Repository: i.Repository, Reference: i.Reference}
}

func channels(of string, all []ready.Channel) (found []prune.Channel) {
	for _, c := range all {
		x := prune.Channel{Place: prune.Place{Repository: c.Image.Repository, Reference: c.Name}, Of: of, Target: c.Target, Unreadable: c.Unreadable}
		if c.Target == "" && x.Unreadable == "" {
			x.Unreadable = "its image is " + string(c.Image.State)
		}
		found = append(found, x)
	}
	return found
}

// check returns an error if a kept release would be less ready after the prune than before. It
// checks the blobs of each image, so it also finds mistakes in the plan.
func (v *verdicts) check(e prune.Effect) error {
	after := remaining(v.facts, e)
	before, then := ready.Judge(v.facts, ready.Question{}), ready.Judge(after, ready.Question{})
	for _, x := range then.Versions {
		i := slices.IndexFunc(before.Versions, func(o ready.VersionVerdict) bool { return o.Version == x.Version })
		if i < 0 {
			return fmt.Errorf("%w: %s was not found before the prune", prune.ErrNotReady, x.Version)
		}
		old := before.Versions[i]
		for _, r := range x.Reasons {
			if !slices.ContainsFunc(old.Reasons, func(o ready.Reason) bool { return o.String() == r.String() }) {
				return fmt.Errorf("%w: %s: %s", prune.ErrNotReady, x.Version, r)
			}
		}
		if old.Ready && !x.Ready {
			return fmt.Errorf("%w: %s", prune.ErrNotReady, x.Version)
		}
	}
	for i, c := range then.Channels {
		if before.Channels[i].Here && !c.Here {
			return fmt.Errorf("%w: the channel %s points at %s, which would be removed", prune.ErrNotReady, c.Channel, c.Version)
		}
	}
	return nil
}

// remaining returns the facts after a prune. It omits platform versions that keep no image of their own.
func remaining(f ready.Facts, e prune.Effect) ready.Facts {
	after := f
	after.Here, after.Builds, after.Channels, after.Modules = nil, nil, slices.Clone(f.Channels), nil
	gone := map[string]bool{}
	for _, b := range f.Builds {
		own := []*ready.Image{&b.Platform, &b.Installer, &b.Standalone, &b.Entry}
		if !slices.ContainsFunc(own, func(i *ready.Image) bool { return stays(*i, e) }) {
			gone[b.Tag] = true
			continue
		}
		for _, i := range own {
			*i = left(*i, e)
		}
		b.Declared, b.Own = leftOf(b.Declared, e), leftOf(b.Own, e)
		after.Builds = append(after.Builds, b)
	}
	for _, tag := range f.Here {
		if !gone[tag] {
			after.Here = append(after.Here, tag)
		}
	}
	for i := range after.Channels {
		after.Channels[i].Image = left(after.Channels[i].Image, e)
		after.Channels[i].Here = after.Channels[i].Here && !gone[after.Channels[i].Target]
	}
	for _, m := range f.Modules {
		after.Modules = append(after.Modules, leftOfModule(m, e))
	}
	after.Databases = leftOf(f.Databases, e)
	return after
}

func leftOfModule(m ready.Module, e prune.Effect) ready.Module {
	old := m.Versions
	m.Versions, m.Tags, m.Channels = nil, slices.Clone(m.Tags), slices.Clone(m.Channels)
	for _, v := range old {
		pointedAt := slices.ContainsFunc(m.Channels, func(c ready.Channel) bool { return c.Target == v.Tag })
		if !stays(v.Image, e) && !stays(v.Entry, e) && !pointedAt {
			m.Tags = slices.DeleteFunc(m.Tags, func(tag string) bool { return tag == v.Tag })
			continue
		}
		v.Image, v.Entry, v.Declared = left(v.Image, e), left(v.Entry, e), leftOf(v.Declared, e)
		m.Versions = append(m.Versions, v)
	}
	for i := range m.Channels {
		m.Channels[i].Image = left(m.Channels[i].Image, e)
	}
	return m
}

func leftOf(all []ready.Image, e prune.Effect) []ready.Image {
	if all == nil {
		return nil
	}
	after := make([]ready.Image, len(all))
	for i, image := range all {
		after[i] = left(image, e)
	}
	return after
}

func stays(i ready.Image, e prune.Effect) bool {
	return i.Digest != "" && e.Stays(i.Repository, i.Digest)
}

// left returns the state of an image after a prune. If its own manifest is removed, the image is
// missing. If only a child manifest or a blob is removed, the image is damaged.
func left(i ready.Image, e prune.Effect) ready.Image {
	if i.State != ready.Complete {
		return i
	}
	gone := func(d digest.Digest) bool { return !e.Stays(i.Repository, d) }
	switch {
	case gone(i.Digest):
		i.Presence = ready.Presence{State: ready.Missing}
	case slices.ContainsFunc(i.Content, func(c ready.Content) bool { return gone(c.Digest) }):
		i.State = ready.Damaged
	}
	return i
}
