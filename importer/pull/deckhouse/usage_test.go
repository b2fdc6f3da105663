package deckhouse_test

import (
	"errors"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/pull/deckhouse"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// Before the first request, Check refuses contradictory or malformed selections.
func TestWrongUsage(t *testing.T) {
	for name, s := range map[string]deckhouse.Selection{
		"two choices of platform versions":            {DeckhouseTag: "a", SinceVersion: "1.1"},
		"a platform version without the platform":     {DeckhouseTag: "a", NoPlatform: true},
		"named packages without packages":             {IncludePackages: []string{"a"}, NoPackages: true},
		"malformed lowest version":                    {SinceVersion: "new"},
		"malformed tag in a constraint":               {IncludeModules: []string{"console@=>1.0"}},
		"malformed tag of the platform":               {DeckhouseTag: "v1.0+stable"},
		"malformed tag of the installer":              {InstallerTag: "v1 0"},
		"malformed tag of the d8 program":             {DeckhouseCLITag: " v1"},
		"malformed constraint":                        {IncludePlatform: "latest"},
		"empty constraint":                            {IncludeModules: []string{"console@"}},
		"unknown channel":                             {IncludeModules: []string{"console@=v1+nightly"}},
		"malformed name":                              {IncludeModules: []string{"a/b"}},
		"range of a plugin, source without tag lists": only(func(s *deckhouse.Selection) { s.ProxyRegistry, s.IncludePlugins = true, []string{"a@^1"} }),
		"no constraint, source without tag lists":     {ProxyRegistry: true},
		"no lower bound, source without tag lists":    {ProxyRegistry: true, IncludePlatform: "<=1.70"},
	} {
		if err := s.Check(client.Reference{Registry: "registry.example", Path: "deckhouse/ee"}); !errors.Is(err, pull.ErrUsage) {
			t.Errorf("%s: got error %v, want ErrUsage", name, err)
		}
	}
	s := deckhouse.Selection{}
	if err := s.Check(client.Reference{Registry: "registry.example"}); !errors.Is(err, pull.ErrUsage) {
		t.Errorf("Check of a source without a path: got error %v, want ErrUsage", err)
	}
}
