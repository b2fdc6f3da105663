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

// Selection selects the content to pull from a Deckhouse source. The zero value selects the platform's
// releases from its lowest to its highest channel, the installer, the databases, modules and packages, the d8
// program, and the plugins for the modules.
type Selection struct {
	// SinceVersion selects the platform from this version on.
	SinceVersion string
	// DeckhouseTag selects one build of the platform by its channel, version or tag.
	DeckhouseTag string
	// IncludePlatform selects versions of the platform by a constraint.
	IncludePlatform string
	// IgnoreSuspend means that suspended release channels are pulled as well.
	IgnoreSuspend bool

	// IncludeModules lists modules as NAME or NAME@CONSTRAINT. If it is empty, all modules are
	// pulled.
	IncludeModules []string
	// ExcludeModules lists the names of modules that are not pulled.
	ExcludeModules  []string
	IncludePackages []string
	ExcludePackages []string
	IncludePlugins  []string // pulled in addition to the plugins for modules

	NoPlatform, NoSecurityDB, NoModules, NoPackages, NoInstaller bool
	OnlyExtraImages                                              bool // pull only the extra images of modules and packages

	// InstallerTag is the tag of the stand-alone installer; "" means "latest".
	InstallerTag string
	// DeckhouseCLITag is the tag of the d8 program. If it is empty, the newest stable version is
	// pulled.
	DeckhouseCLITag string
	// NoEditionSplit means that the installer and the d8 program are below the source, even if the
	// source's path ends in an edition.
	NoEditionSplit bool
	// ModulesPathSuffix is the path of the modules below the source. If it is empty, it is
	// "modules"; "/" is the source itself.
	ModulesPathSuffix string
	// SkipVexImages means that attestations are not pulled.
	SkipVexImages bool
	// ProxyRegistry means that the source lists no tags, so the pull finds versions by trying them.
	ProxyRegistry bool
}

// IsZero reports whether no field of the selection is set.
func (s *Selection) IsZero() bool { return reflect.ValueOf(*s).IsZero() }

// Plan implements pull.Planner. It fails with *SuspendedError if a selected channel is suspended.
// Other errors come from the draft and its source.
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
		return pull.Usage("%s: a Deckhouse source needs a path, in the form REGISTRY/PATH: add the path, or choose repositories to pull", source)
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
		return pull.Usage("a version of the platform is chosen, but the platform is excluded: drop one of them")
	case len(s.IncludePackages) > 0 && s.NoPackages:
		return pull.Usage("packages are included by name, but all packages are excluded: drop one of them")
	}
	for _, tag := range []string{s.DeckhouseTag, s.InstallerTag, s.DeckhouseCLITag} {
		if c, err := release.ParseConstraint("=" + tag); tag != "" && (err != nil || c.Tag != tag) {
			return pull.Usage("malformed tag %q", tag)
		}
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

// checkProxy fails if a selection needs a list of tags.
func (s *Selection) checkProxy() error {
	if s.SinceVersion != "" {
		return pull.Usage("a lowest version does not work with a source that lists no tags: give a platform constraint with a lower bound")
	}
	if !s.NoPlatform && s.DeckhouseTag == "" && s.IncludePlatform == "" {
		return pull.Usage("a source that lists no tags needs a platform constraint: give one, or exclude the platform")
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
			return pull.Usage("plugin %s: a source that lists no tags needs an exact version, for example %s@=v1.2.3", p, name)
		}
	}
	return nil
}

// selectors parses one list of a selection. Check has already accepted the list.
func selectors(list []string) map[string]release.Selector {
	all, _ := release.ParseSelectors(list)
	return all
}

func errNoStart(constraint string) error {
	return pull.Usage("constraint %q has no lower bound: a source that lists no tags needs a version to start from", constraint)
}
