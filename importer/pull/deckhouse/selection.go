package deckhouse

import (
	"context"
	"reflect"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/release"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// Selection says what is pulled of a source of Deckhouse. The zero value is all of the
// releases that its channels are about, databases, modules and packages.
type Selection struct {
	SinceVersion    string // the platform from this version on
	DeckhouseTag    string // one build of the platform: a channel, a version, any tag
	IncludePlatform string // a constraint of the platform's versions
	IgnoreSuspend   bool   // of release channels

	IncludeModules  []string // NAME or NAME@CONSTRAINT; all if empty
	ExcludeModules  []string // names
	IncludePackages []string
	ExcludePackages []string
	IncludePlugins  []string // beside those that modules ask for

	NoPlatform, NoSecurityDB, NoModules, NoPackages, NoInstaller bool
	OnlyExtraImages                                              bool // of modules and packages

	InstallerTag      string // of the stand-alone installer; "latest" if empty
	DeckhouseCLITag   string // of the d8 program; the newest stable version if empty
	NoEditionSplit    bool   // the installer and the d8 program are below the source, whatever it ends in
	ModulesPathSuffix string // where the source has modules, "modules" if empty; "/" is the source itself
	SkipVexImages     bool   // skip attestations
	ProxyRegistry     bool   // the source lists no tags: versions are tried
}

// IsZero reports whether it selects nothing in particular.
func (s *Selection) IsZero() bool { return reflect.ValueOf(*s).IsZero() }

// Plan implements pull.Planner. Errors: *SuspendedError; those of the draft and its source.
func (s *Selection) Plan(ctx context.Context, d *pull.Draft) error {
	if s.ProxyRegistry {
		d.HasNoTagLists()
	}
	p := &planner{selection: s, draft: d, source: d.Source, bundled: bundled{modules: map[string][]release.Release{}}}
	return p.plan(ctx)
}

// Check implements pull.Planner.
func (s *Selection) Check(source client.Reference) error {
	if source.Path == "" {
		return pull.Usage("%s is no source of Deckhouse, which is REGISTRY/PATH; repositories can be named", source)
	}
	platform := 0
	for _, given := range []string{s.SinceVersion, s.DeckhouseTag, s.IncludePlatform} {
		if given != "" {
			platform++
		}
	}
	switch {
	case platform > 1:
		return pull.Usage("a platform is chosen by a lowest version, by a tag or by a constraint: by one of them")
	case platform > 0 && s.NoPlatform:
		return pull.Usage("a platform is chosen, and none is wanted")
	case len(s.IncludePackages) > 0 && s.NoPackages:
		return pull.Usage("packages are included by name, and none are wanted")
	}
	if s.SinceVersion != "" {
		if _, err := semver.NewVersion(s.SinceVersion); err != nil {
			return pull.Usage("lowest version %q: %v", s.SinceVersion, err)
		}
	}
	if s.IncludePlatform != "" {
		if _, err := release.ParseConstraint(s.IncludePlatform); err != nil {
			return pull.Usage("%w", err)
		}
	}
	for _, list := range [][]string{s.IncludeModules, s.ExcludeModules, s.IncludePackages, s.ExcludePackages, s.IncludePlugins} {
		if _, err := release.ParseSelectors(list); err != nil {
			return pull.Usage("%w", err)
		}
	}
	if s.ProxyRegistry {
		return s.checkProxy()
	}
	return nil
}

// checkProxy finds what cannot be known of a source that lists no tags.
func (s *Selection) checkProxy() error {
	if s.SinceVersion != "" {
		return pull.Usage("a source that lists no tags is walked from the lowest version of a platform's constraint, not from a lowest version")
	}
	if !s.NoPlatform && s.DeckhouseTag == "" && s.IncludePlatform == "" {
		return pull.Usage("a source that lists no tags needs a platform's constraint, or no platform")
	}
	constraints := []string{}
	if s.IncludePlatform != "" {
		constraints = append(constraints, s.IncludePlatform)
	}
	for _, list := range [][]string{s.IncludeModules, s.IncludePackages} {
		for _, expression := range list {
			if _, c, ok := strings.Cut(expression, "@"); ok {
				constraints = append(constraints, c)
			}
		}
	}
	for _, text := range constraints {
		if c, err := release.ParseConstraint(text); err == nil && !c.HasStart() {
			return noStart(text)
		}
	}
	plugins, err := release.ParseSelectors(s.IncludePlugins)
	if err != nil {
		return pull.Usage("%w", err)
	}
	for _, name := range sortedKeys(plugins) {
		if p := plugins[name]; p.All || len(p.Ranges) > 0 {
			return pull.Usage("plugin %s: a source that lists no tags needs an exact version, as %s@=v1.2.3", p, name)
		}
	}
	return nil
}

func noStart(constraint string) error {
	return pull.Usage("version %q has no lower bound, from which a source that lists no tags could be walked", constraint)
}
