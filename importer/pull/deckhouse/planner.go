package deckhouse

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/release"
	"github.com/layoutproxy/layoutproxy/layoutstore/edition"
)

type planner struct {
	selection *Selection
	draft     *pull.Draft
	source    *pull.Source

	mu      sync.Mutex
	bundled bundled // content of the bundle that decides which plugins are chosen
}

func (p *planner) plan(ctx context.Context) error {
	s := p.selection
	steps := []struct {
		skip      bool
		plan      func(context.Context) error
		of        kind // kind of the content that is missing if this step fails
		component string
	}{
		{s.NoPlatform, p.planPlatform, platformChannel, "platform"},
		{s.NoInstaller, p.planInstaller, sharedImage, "installer"},
		{s.NoSecurityDB, p.planDatabases, sharedImage, "security"},
		{s.NoModules && len(s.IncludeModules) == 0, p.planModules, member, "modules"},
		{s.NoPackages, p.planPackages, member, "packages"},
		{false, p.planPackageVersions, member, "package versions"},
		{s.OnlyExtraImages, p.planProgram, sharedImage, "d8"},
		{s.OnlyExtraImages, p.planPlugins, sharedImage, "plugins"},
	}
	for _, step := range steps {
		if step.skip {
			continue
		}
		// If one component is incomplete, plan the others anyway, so that the error lists all
		// missing content.
		if err := p.draft.Absorb(step.plan(ctx), part(step.of), pull.Unit{Component: step.component}); err != nil {
			return err
		}
	}
	return nil
}

// layout returns the layout at a path of an archive. Its images are for a single platform, except
// those of the d8 program and its plugins. In layouts of the platform, modules and packages, the
// tag of an attestation may contain an image's tag. In other layouts, attestation tags contain a
// digest.
func (p *planner) layout(archive, path, repository string, of kind, change ...func(*pull.Rules)) *pull.Layout {
	rules := pull.Rules{Part: part(of), Platform: p.draft.Platform}
	if rules.Platform == nil && !strings.HasPrefix(path+"/", programPath+"/") {
		rules.Platform = &pull.Platform{OS: "linux", Architecture: "amd64"}
	}
	switch {
	case p.selection.SkipVexImages:
		rules.Attestations = pull.NoAttestations
	case edition.IsShared(path), strings.HasPrefix(path, databasesPath+"/"):
		rules.Attestations = pull.AttestationsByDigest
	}
	for _, c := range change {
		c(&rules)
	}
	return p.draft.Layout(archive, path, repository, rules)
}

// keepEmpty keeps a layout without images in its archive, as d8 does.
func keepEmpty(r *pull.Rules) { r.Empty = pull.KeepEmptyBesideOthers }

func (p *planner) chooseTags(ctx context.Context, repository string, c *release.Constraint) ([]string, error) {
	if p.selection.ProxyRegistry {
		return p.findVersions(ctx, repository, c)
	}
	tags, err := p.source.Tags(ctx, repository)
	if pull.IsAbsent(err) {
		return nil, nil
	}
	return c.Choose(sortedKeys(tags)), err
}

// findExactTag returns the tag that the user means. The user may omit the v of a version.
func (p *planner) findExactTag(ctx context.Context, repository, tag string) (string, error) {
	if _, ok := release.Parse(tag); !ok || strings.HasPrefix(tag, "v") {
		return tag, nil
	}
	_, err := p.source.Resolve(ctx, repository, tag)
	if pull.IsAbsent(err) {
		return "v" + tag, nil
	}
	return tag, err
}

func unusable(format string, args ...any) error {
	return &pull.UnusableError{Err: fmt.Errorf(format, args...)}
}

func sortedKeys[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }

// tagOf returns the tag that an image gets in a bundle: its tag in the source, or the hex digits of
// its digest.
func tagOf(reference string) string {
	if d := digest.Digest(reference); d.Validate() == nil {
		return d.Encoded()
	}
	return reference
}
