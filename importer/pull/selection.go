package pull

import (
	"reflect"
	"slices"
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
	IncludePlugins  []string // beside those that modules ask for

	NoPlatform, NoSecurityDB, NoModules, NoPackages, NoInstaller bool
	OnlyExtraImages                                              bool // of modules and packages

	InstallerTag      string // of the stand-alone installer; "latest" if empty
	DeckhouseCLITag   string // of the d8 program; the newest stable version if empty
	NoEditionSplit    bool   // the installer and the d8 program are below the source, whatever it ends in
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
	case len(s.IncludePackages) > 0 && s.NoPackages:
		return usage("packages are included by name, and none are wanted")
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
	for _, list := range [][]string{s.IncludeModules, s.IncludePackages} {
		for _, expression := range list {
			if _, c, ok := strings.Cut(expression, "@"); ok {
				constraints = append(constraints, c)
			}
		}
	}
	for _, text := range constraints {
		if c, err := parseConstraint(text); err == nil && !c.hasStart() {
			return usage("version %q has no lower bound, from which a source that lists no tags could be walked", text)
		}
	}
	return s.checkProxyPlugins()
}

// checkProxyPlugins refuses plugins whose versions would have to be listed.
func (s *Selection) checkProxyPlugins() error {
	plugins, err := parseNames(s.IncludePlugins)
	if err != nil {
		return err
	}
	for _, name := range sortedKeys(plugins) {
		if n := plugins[name]; n.all || len(n.ranges) > 0 {
			return usage("plugin %s: a source that lists no tags needs an exact version, as %s@=v1.2.3", n, name)
		}
	}
	return nil
}

// named is something chosen by its name, and versions of it.
type named struct {
	name   string
	all    bool          // named without a constraint
	ranges []*constraint // of versions
	pins   []*constraint // to one tag each
}

func (n named) String() string {
	words := []string{n.name}
	for _, c := range slices.Concat(n.ranges, n.pins) {
		words = append(words, n.name+"@"+c.text)
	}
	if len(words) > 1 {
		words = words[1:]
	}
	return strings.Join(words, ", ")
}

// isPinned reports whether tags alone are wanted, without the release channels.
func (n named) isPinned() bool { return len(n.pins) > 0 && len(n.ranges) == 0 && !n.all }

// parseNames reads a list of NAME or NAME@CONSTRAINT, in which a name may be repeated.
// Errors: ErrUsage.
func parseNames(list []string) (all map[string]named, err error) {
	all = map[string]named{}
	for _, expression := range list {
		name, text, ok := strings.Cut(expression, "@")
		name = strings.TrimSpace(name)
		if !validSegment(name) {
			return nil, usage("%q: a name, or NAME@CONSTRAINT", expression)
		}
		n := all[name]
		n.name = name
		if !ok {
			n.all = true
			all[name] = n
			continue
		}
		c, err := parseConstraint(text)
		if err != nil {
			return nil, err
		}
		if c.some == nil {
			n.pins = append(n.pins, c)
		} else {
			n.ranges = append(n.ranges, c)
		}
		all[name] = n
	}
	return all, nil
}
