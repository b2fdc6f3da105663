package pull

import (
	"reflect"
	"strings"

	"github.com/Masterminds/semver/v3"
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
	IncludePlugins  []string // none if empty

	NoPlatform, NoSecurityDB, NoModules, NoPackages, NoInstaller bool
	OnlyExtraImages                                              bool // of modules and packages

	InstallerTag      string // of the stand-alone installer; "latest" if empty
	ModulesPathSuffix string // where the source has modules, "modules" if empty; "/" is the source itself
	SkipVexImages     bool   // leave attestations
	ProxyRegistry     bool   // the source lists no tags: versions are tried
}

// none says whether it selects nothing in particular.
func (s *Selection) none() bool { return reflect.ValueOf(*s).IsZero() }

func (s *Selection) check() error {
	platform := 0
	for _, given := range []string{s.SinceVersion, s.DeckhouseTag, s.IncludePlatform} {
		if given != "" {
			platform++
		}
	}
	switch {
	case platform > 1:
		return usage("a platform is chosen by a lowest version, by a tag or by a constraint: by one of them")
	case platform > 0 && s.NoPlatform:
		return usage("a platform is chosen, and none is wanted")
	case len(s.IncludeModules) > 0 && s.NoModules, len(s.IncludePackages) > 0 && s.NoPackages:
		return usage("modules or packages are included by name, and none are wanted")
	}
	if s.SinceVersion != "" {
		if _, err := semver.NewVersion(s.SinceVersion); err != nil {
			return usage("lowest version %q: %v", s.SinceVersion, err)
		}
	}
	if s.IncludePlatform != "" {
		if _, err := parseConstraint(s.IncludePlatform); err != nil {
			return err
		}
	}
	for _, list := range [][]string{s.IncludeModules, s.ExcludeModules, s.IncludePackages, s.ExcludePackages, s.IncludePlugins} {
		if _, err := parseNames(list); err != nil {
			return err
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
		return usage("a source that lists no tags is walked from the lowest version of a platform's constraint, not from a lowest version")
	}
	if !s.NoPlatform && s.DeckhouseTag == "" && s.IncludePlatform == "" {
		return usage("a source that lists no tags needs a platform's constraint, or no platform")
	}
	constraints := []string{}
	if s.IncludePlatform != "" {
		constraints = append(constraints, s.IncludePlatform)
	}
	for _, list := range [][]string{s.IncludeModules, s.IncludePackages, s.IncludePlugins} {
		for _, expression := range list {
			if _, c, ok := strings.Cut(expression, "@"); ok {
				constraints = append(constraints, c)
			}
		}
	}
	for _, text := range constraints {
		if c, err := parseConstraint(text); err == nil && c.some != nil && c.lower == nil {
			return usage("version %q has no lower bound, from which a source that lists no tags could be walked", text)
		}
	}
	return nil
}

// named is something chosen by its name, and versions of it.
type named struct {
	name string
	*constraint
}

// parseNames reads a list of NAME or NAME@CONSTRAINT. Errors: ErrUsage.
func parseNames(list []string) (all map[string]named, err error) {
	all = map[string]named{}
	for _, expression := range list {
		name, text, ok := strings.Cut(expression, "@")
		n := named{name: strings.TrimSpace(name)}
		if !validSegment(n.name) {
			return nil, usage("%q: a name, or NAME@CONSTRAINT", expression)
		}
		if _, twice := all[n.name]; twice {
			return nil, usage("%s is named twice", n.name)
		}
		if ok {
			if n.constraint, err = parseConstraint(text); err != nil {
				return nil, err
			}
		}
		all[n.name] = n
	}
	return all, nil
}
