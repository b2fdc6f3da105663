package deckhouse_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/importer/pull/deckhouse"
	"github.com/layoutproxy/layoutproxy/importer/pull/pulltest"
)

const (
	security  = "security/trivy-db:2, security/trivy-bdu:1, security/trivy-checks:0"
	installer = "installer:latest"
	program   = "\ndeckhouse-cli:v0.13.1"
	channels  = "release-channel:alpha, release-channel:beta, release-channel:early-access, release-channel:stable, release-channel:rock-solid"
	console   = `
		modules/console:v1.0.1, modules/console:v1.1.0, modules/console:v1.2.0
		modules/console:@console v1.0.1, modules/console:@console v1.1.0, modules/console:@console v1.2.0
		modules/console/release:v1.0.1, modules/console/release:v1.1.0, modules/console/release:v1.2.0
		modules/console/release:alpha, modules/console/release:beta, modules/console/release:stable
		modules/console/release:early-access, modules/console/release:rock-solid`
	extras     = "modules/stronghold/extra/scanner:3, modules/stronghold/extra/enforcer:v2"
	stronghold = `
		modules/stronghold:v1.0.1, modules/stronghold:v1.1.0, modules/stronghold:v1.2.0
		modules/stronghold:@stronghold v1.0.1, modules/stronghold:@stronghold v1.1.0, modules/stronghold:@stronghold v1.2.0
		modules/stronghold/release:v1.0.1, modules/stronghold/release:v1.1.0, modules/stronghold/release:v1.2.0
		modules/stronghold/release:alpha, modules/stronghold/release:beta, modules/stronghold/release:stable
		modules/stronghold/release:early-access, modules/stronghold/release:rock-solid
		` + extras
	consolePackage = `
		packages/console-p:v1.0.1, packages/console-p:v1.1.0, packages/console-p:v1.2.0
		packages/console-p:@console-p v1.0.1, packages/console-p:@console-p v1.1.0, packages/console-p:@console-p v1.2.0`
	strongholdPackage = `
		packages/stronghold-p:v1.0.1, packages/stronghold-p:v1.1.0, packages/stronghold-p:v1.2.0
		packages/stronghold-p:@stronghold-p v1.0.1, packages/stronghold-p:@stronghold-p v1.1.0, packages/stronghold-p:@stronghold-p v1.2.0
		packages/stronghold-p/extra/scanner:3, packages/stronghold-p/extra/enforcer:v2`
)

// build returns the lines for one build of the platform: see synthetic.wanted.
func build(version string) string {
	return ":" + version + ",:@" + version + ",install:" + version + ",install-standalone:" + version + ",release-channel:" + version + "\n"
}

// pinned returns the lines for the default channels if all point at one build. The channels of
// release-channel then point at the image with the given tag, and the channels of install point at
// the image of the version.
func pinned(tag, version string) (lines string) {
	for _, channel := range []string{"alpha", "beta", "early-access", "stable", "rock-solid"} {
		lines += "release-channel:" + channel + "=" + tag + "\n" + install(channel, version)
	}
	return lines
}

// install returns the line for a channel of the install image that points at a version.
func install(channel, version string) string { return "install:" + channel + "=" + version + "\n" }

func installs() string {
	return install("alpha", "v1.71.0") + install("beta", "v1.70.0") + install("early-access", "v1.69.3") + install("stable", "v1.69.3") + install("rock-solid", "v1.68.1")
}

func packageVersions() (lines string) {
	for _, name := range []string{"console-p", "stronghold-p"} {
		for _, tag := range []string{"v1.0.0", "v1.0.1", "v1.1.0", "v1.1.2", "v1.2.0", "v2.0.0", "alpha", "beta", "stable", "early-access", "rock-solid"} {
			lines += "packages/" + name + "/version:" + tag + "\n"
		}
	}
	return lines
}

// only selects what change adds and, if the source has them, package versions and the d8 program.
func only(change func(*deckhouse.Selection)) deckhouse.Selection {
	s := deckhouse.Selection{NoPlatform: true, NoSecurityDB: true, NoModules: true, NoPackages: true, NoInstaller: true}
	change(&s)
	return s
}

func TestSelection(t *testing.T) {
	s, less := standard(t), lean(t)
	s.writeAll()
	less.writeAll()
	r, _ := pulltest.Serve(t, s.tree.Dir())
	quick, _ := pulltest.Serve(t, less.tree.Dir())
	released := build("v1.68.1") + build("v1.68.2") + build("v1.69.3") + build("v1.70.0") + build("v1.70.1") + build("v1.71.0") + installs()
	tests := map[string]struct {
		selection deckhouse.Selection
		want      string
	}{
		"everything": {deckhouse.Selection{}, released + channels + "\n" + security + "\n" + installer + program + console + stronghold +
			consolePackage + strongholdPackage + "\n" + packageVersions()},
		"the platform": {only(func(s *deckhouse.Selection) { s.NoPlatform = false }), released + channels},
		"since a version": {only(func(s *deckhouse.Selection) { s.NoPlatform = false; s.SinceVersion = "1.70" }),
			build("v1.70.0") + build("v1.70.1") + build("v1.71.0") + "release-channel:alpha, release-channel:beta\n" + install("alpha", "v1.71.0") + install("beta", "v1.70.0")},
		"since a version below rock-solid": {only(func(s *deckhouse.Selection) { s.NoPlatform = false; s.SinceVersion = "v1.60.0" }), released + channels},
		"a channel": {only(func(s *deckhouse.Selection) { s.NoPlatform = false; s.DeckhouseTag = "beta" }), build("v1.70.0") +
			pinned("beta", "v1.70.0")},
		"a version": {only(func(s *deckhouse.Selection) { s.NoPlatform = false; s.DeckhouseTag = "1.68.0" }), build("v1.68.0") +
			pinned("v1.68.0", "v1.68.0")},
		"a tag without a release channel, with an old form of installer": {only(func(s *deckhouse.Selection) { s.NoPlatform = false; s.DeckhouseTag = "pr42" }),
			":pr42, install:pr42, :old-tag"},
		"a range of the platform": {only(func(s *deckhouse.Selection) { s.NoPlatform = false; s.IncludePlatform = ">=1.68 <=1.69" }),
			build("v1.68.0") + build("v1.68.1") + build("v1.68.2") + build("v1.69.0") + build("v1.69.3") + "release-channel:early-access, release-channel:stable, release-channel:rock-solid\n" +
				install("early-access", "v1.69.3") + install("stable", "v1.69.3") + install("rock-solid", "v1.68.1")},
		"a minor version of the platform": {only(func(s *deckhouse.Selection) { s.NoPlatform = false; s.IncludePlatform = "~1.70.0" }),
			build("v1.70.0") + build("v1.70.1") + "release-channel:beta\n" + install("beta", "v1.70.0")},
		"exactly one version of the platform": {only(func(s *deckhouse.Selection) { s.NoPlatform = false; s.IncludePlatform = "=v1.67.5" }), build("v1.67.5") +
			pinned("v1.67.5", "v1.67.5")},
		"the databases":          {only(func(s *deckhouse.Selection) { s.NoSecurityDB = false }), security},
		"the installer":          {only(func(s *deckhouse.Selection) { s.NoInstaller = false }), installer},
		"a tag of the installer": {only(func(s *deckhouse.Selection) { s.NoInstaller = false; s.InstallerTag = "v2" }), "installer:v2"},
		"the modules":            {only(func(s *deckhouse.Selection) { s.NoModules = false }), console + stronghold},
		"a module":               {only(func(s *deckhouse.Selection) { s.NoModules = false; s.IncludeModules = []string{"console"} }), console},
		"all modules except one": {only(func(s *deckhouse.Selection) { s.NoModules = false; s.ExcludeModules = []string{"console"} }), stronghold},
		"extra images alone":     {only(func(s *deckhouse.Selection) { s.NoModules, s.OnlyExtraImages = false, true }), extras},
		"a module from a version on, within its major version": {only(func(s *deckhouse.Selection) { s.NoModules = false; s.IncludeModules = []string{"console@1.1.0"} }), console + "\n" + version("console", "v1.1.2")},
		"a module within a minor version":                      {only(func(s *deckhouse.Selection) { s.NoModules = false; s.IncludeModules = []string{"console@~1.1.0"} }), console + "\n" + version("console", "v1.1.2")},
		"a range of a module": {only(func(s *deckhouse.Selection) {
			s.NoModules = false
			s.IncludeModules = []string{"console@>=1.0.0 <1.1.0"}
		}), console + "\n" + version("console", "v1.0.0")},
		"a higher major version of a module": {only(func(s *deckhouse.Selection) { s.NoModules = false; s.IncludeModules = []string{"console@^2.0.0"} }), console + "\n" + version("console", "v2.0.0")},
		"exactly one version of a module": {only(func(s *deckhouse.Selection) { s.NoModules = false; s.IncludeModules = []string{"console@=v1.0.0"} }), version("console", "v1.0.0") + `
			modules/console/release:alpha=v1.0.0, modules/console/release:beta=v1.0.0, modules/console/release:early-access=v1.0.0
			modules/console/release:stable=v1.0.0, modules/console/release:rock-solid=v1.0.0, modules/console/release:lts=v1.0.0`},
		"two versions of a module": {only(func(s *deckhouse.Selection) {
			s.NoModules = false
			s.IncludeModules = []string{"console@=v1.0.0", "console@=v2.0.0+beta"}
		}),
			version("console", "v1.0.0") + version("console", "v2.0.0") + "modules/console/release:beta=v2.0.0"},
		"a version and a range of a module": {only(func(s *deckhouse.Selection) {
			s.NoModules = false
			s.IncludeModules = []string{"console@=v1.0.0", "console@^2"}
		}),
			console + "\n" + version("console", "v1.0.0") + version("console", "v2.0.0")},
		"one module, although modules are excluded": {only(func(s *deckhouse.Selection) { s.IncludeModules = []string{"console"} }), console},
		"exactly one version of a module, for one channel": {only(func(s *deckhouse.Selection) {
			s.NoModules = false
			s.IncludeModules = []string{"console@=v1.0.0+stable"}
		}),
			version("console", "v1.0.0") + "modules/console/release:stable=v1.0.0"},
		"the packages": {only(func(s *deckhouse.Selection) { s.NoPackages = false }), consolePackage + strongholdPackage + "\n" + packageVersions() + program},
		"a package":    {only(func(s *deckhouse.Selection) { s.NoPackages = false; s.IncludePackages = []string{"console-p"} }), consolePackage + "\n" + packageVersions() + program},
		"exactly one version of a package": {only(func(s *deckhouse.Selection) { s.NoPackages = false; s.IncludePackages = []string{"console-p@=v1.0.0"} }),
			"packages/console-p:v1.0.0, packages/console-p:@console-p v1.0.0\n" + packageVersions() + `
			packages/console-p/version:alpha=v1.0.0, packages/console-p/version:beta=v1.0.0, packages/console-p/version:early-access=v1.0.0
			packages/console-p/version:stable=v1.0.0, packages/console-p/version:rock-solid=v1.0.0, packages/console-p/version:lts=v1.0.0` + program},
		"all packages except one": {only(func(s *deckhouse.Selection) { s.NoPackages = false; s.ExcludePackages = []string{"console-p"} }),
			strongholdPackage + "\n" + packageVersions() + program},
		"no packages": {only(func(*deckhouse.Selection) {}), packageVersions() + program},
		"a version of the d8 program, and packages": {only(func(s *deckhouse.Selection) { s.DeckhouseCLITag = "v0.9.0" }), packageVersions() + "deckhouse-cli:v0.9.0"},
		"extra images of packages alone": {only(func(s *deckhouse.Selection) { s.NoPackages, s.OnlyExtraImages = false, true }),
			packageVersions() + "packages/stronghold-p/extra/scanner:3, packages/stronghold-p/extra/enforcer:v2"},
		"a plugin":            {only(func(s *deckhouse.Selection) { s.IncludePlugins = []string{"system"} }), "deckhouse-cli/plugins/system:v0.2.0"},
		"a range of a plugin": {only(func(s *deckhouse.Selection) { s.IncludePlugins = []string{"system@>=0.1.0"} }), "deckhouse-cli/plugins/system:v0.2.0"},
		"two versions of a plugin": {only(func(s *deckhouse.Selection) { s.IncludePlugins = []string{"system@~0.1", "system@=0.3.0-alpha.1"} }),
			"deckhouse-cli/plugins/system:v0.1.0, deckhouse-cli/plugins/system:v0.3.0-alpha.1"},
		"exactly one version of a plugin": {only(func(s *deckhouse.Selection) { s.IncludePlugins = []string{"system@=v0.3.0-alpha.1"} }), "deckhouse-cli/plugins/system:v0.3.0-alpha.1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			from, at := less, quick
			if name == "everything" || strings.Contains(name, "packages") || strings.Contains(name, "a package") {
				from, at = s, r
			}
			o := options(t, at, edition)
			o.Planner = selecting(test.selection)
			pulltest.Run(t, o)
			got := pulltest.OpenAt(t, edition, o.Dir)
			pulltest.Intact(t, got)
			if diff := cmp.Diff(from.wanted(test.want), pulltest.Listed(t, got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// version returns the lines for one version of a module: see synthetic.wanted.
func version(module, tag string) string {
	at := "modules/" + module
	return at + ":" + tag + "," + at + ":@" + module + " " + tag + "," + at + "/release:" + tag + "\n"
}
