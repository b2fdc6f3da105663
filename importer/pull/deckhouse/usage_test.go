package deckhouse_test

import (
	"errors"
	"testing"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/pull/deckhouse"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

// Selections that contradict each other, or cannot be parsed, are refused before the first
// request.
func TestWrongUsage(t *testing.T) {
	for name, s := range map[string]deckhouse.Selection{
		"two choices of a platform": {DeckhouseTag: "a", SinceVersion: "1.1"},
		"no platform of a choice":   {DeckhouseTag: "a", NoPlatform: true},
		"no packages of a list":     {IncludePackages: []string{"a"}, NoPackages: true},
		"lowest version":            {SinceVersion: "new"},
		"constraint":                {IncludePlatform: "latest"},
		"empty constraint":          {IncludeModules: []string{"console@"}},
		"channel of a constraint":   {IncludeModules: []string{"console@=v1+nightly"}},
		"name":                      {IncludeModules: []string{"a/b"}},
		"walk to a plugin":          only(func(s *deckhouse.Selection) { s.ProxyRegistry, s.IncludePlugins = true, []string{"a@^1"} }),
		"walk without a start":      {ProxyRegistry: true},
		"walk without a bound":      {ProxyRegistry: true, IncludePlatform: "<=1.70"},
	} {
		if err := s.Check(client.Reference{Registry: "registry.example", Path: "deckhouse/ee"}); !errors.Is(err, pull.ErrUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s := deckhouse.Selection{}
	if err := s.Check(client.Reference{Registry: "registry.example"}); !errors.Is(err, pull.ErrUsage) {
		t.Errorf("no path: %v", err)
	}
}
