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

// Selection selects the content to pull from a Deckhouse source. The zero value selects all
// releases between its channels, databases, modules and packages.
type Selection struct {
	SinceVersion    string // the platform from this version up
	DeckhouseTag    string // one build of the platform: a channel, a version, any tag
	IncludePlatform string // a constraint of the platform's versions
	IgnoreSuspend   bool   // pull suspended release channels

	IncludeModules  []string // NAME or NAME@CONSTRAINT; all if empty
	ExcludeModules  []string // names
	IncludePackages []string
	ExcludePackages []string
	IncludePlugins  []string // in addition to those that modules need

	NoPlatform, NoSecurityDB, NoModules, NoPackages, NoInstaller bool
	OnlyExtraImages                                              bool // of modules and packages

	InstallerTag      string // of the stand-alone installer; "latest" if empty
	DeckhouseCLITag   string // of the d8 program; the newest stable version if empty
	NoEditionSplit    bool   // the installer and the d8 program are below the source, even if its path ends in an edition
	ModulesPathSuffix string // path of the modules below the source, "modules" if empty; "/" is the source itself
	SkipVexImages     bool   // skip attestations
	ProxyRegistry     bool   // the source lists no tags: versions are tried
}

// IsZero reports whether the selection is the default one.
func (s *Selection) IsZero() bool { return reflect.ValueOf(*s).IsZero() }

// Plan implements pull.Planner. Errors: *SuspendedError; those of the draft and its source.
func (s *Selection) Plan(ctx context.Context, d *pull.Draft) error {
	if s.ProxyRegistry {
		d.DisableTagLists()
	}
	p := &planner{selection: s, draft: d, source: d.Source, bundled: bundled{modules: map[string][]release.Release{}}}
	return p.plan(ctx)
}

// Check implements pull.Planner.
func (s *Selection) Check(source client.Reference) error {
	if source.Path == "" {
		return pull.Usage("%s: a Deckhouse source needs a path, as REGISTRY/PATH; or name repositories", source)
	}
	platform := 0
	for _, given := range []string{s.SinceVersion, s.DeckhouseTag, s.IncludePlatform} {
		if given != "" {
			platform++
		}
	}
	switch {
	case platform > 1:
		return pull.Usage("a lowest version, a tag and a constraint of the platform cannot be combined: choose one")
	case platform > 0 && s.NoPlatform:
		return pull.Usage("a version of the platform is chosen, and the platform is excluded: drop one of them")
	case len(s.IncludePackages) > 0 && s.NoPackages:
		return pull.Usage("packages are included by name, and all packages are excluded: drop one of them")
	}
	if s.SinceVersion != "" {
		if _, err := semver.NewVersion(s.SinceVersion); err != nil {
			return pull.Usage("invalid lowest version %q: %v", s.SinceVersion, err)
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

// checkProxy refuses selections that need a list of tags.
func (s *Selection) checkProxy() error {
	if s.SinceVersion != "" {
		return pull.Usage("a lowest version does not work with a source that lists no tags: give a constraint of the platform that has a lower bound")
	}
	if !s.NoPlatform && s.DeckhouseTag == "" && s.IncludePlatform == "" {
		return pull.Usage("a source that lists no tags needs a constraint of the platform; or exclude the platform")
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
			return errNoStart(text)
		}
	}
	plugins := selectors(s.IncludePlugins)
	for _, name := range sortedKeys(plugins) {
		if p := plugins[name]; p.All || len(p.Ranges) > 0 {
			return pull.Usage("plugin %s: a source that lists no tags needs an exact version, as %s@=v1.2.3", p, name)
		}
	}
	return nil
}

// selectors parses a list of a selection, which Check has accepted.
func selectors(list []string) map[string]release.Selector {
	all, _ := release.ParseSelectors(list)
	return all
}

func errNoStart(constraint string) error {
	return pull.Usage("version %q has no lower bound: a source that lists no tags needs one to start from", constraint)
}
