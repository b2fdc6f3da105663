package deckhouse

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/importer/release"
)

// The rules for channels of the install image are in section 6.1 of docs/mirror-bundle-layout.md
// (2026-10-01) in deckhouse-cli.
func TestInstallAliases(t *testing.T) {
	const usual = "alpha:v1.71.0 beta:v1.70.0 early-access:v1.69.3 stable:v1.69.3 rock-solid:v1.68.1"
	for name, test := range map[string]struct{ selected, all, want string }{
		"all":                         {usual, usual, usual},
		"some":                        {"alpha:v1.71.0 stable:v1.69.3", usual, "alpha:v1.71.0 stable:v1.69.3"},
		"lts points above rock-solid": {usual + " lts:v1.68.5", usual + " lts:v1.68.5", usual + " lts:v1.68.5"},
		"lts points at the version of rock-solid":           {usual + " lts:v1.68.1", usual + " lts:v1.68.1", usual + " lts:v1.68.1"},
		"lts points below rock-solid":                       {usual + " lts:v1.67.9", usual + " lts:v1.67.9", usual},
		"only lts is selected, and points below rock-solid": {"lts:v1.67.9", usual + " lts:v1.67.9", ""},
		"lts alone":                                     {"lts:v1.60.0", "lts:v1.60.0", "lts:v1.60.0"},
		"stable points below rock-solid":                {"stable:v1.60.0 rock-solid:v1.61.0", "stable:v1.60.0 rock-solid:v1.61.0", "rock-solid:v1.61.0"},
		"a channel points at a tag that is no version":  {"alpha:main rock-solid:v1.61.0", "alpha:main rock-solid:v1.61.0", "alpha:main rock-solid:v1.61.0"},
		"rock-solid points at a tag that is no version": {"alpha:v1.0.0 rock-solid:main", "alpha:v1.0.0 rock-solid:main", "alpha:v1.0.0 rock-solid:main"},
	} {
		want := map[string]string{}
		for _, ch := range channelsOf(test.want) {
			want[ch.Name] = ch.Tag
		}
		if diff := cmp.Diff(want, installAliases(channelsOf(test.selected), channelsOf(test.all))); diff != "" {
			t.Errorf("%s: aliases (-want +got): %s", name, diff)
		}
	}
}

func channelsOf(text string) (all []release.Channel) {
	for _, one := range strings.Fields(text) {
		name, tag, _ := strings.Cut(one, ":")
		r, _ := release.Parse(tag)
		all = append(all, release.Channel{Name: name, Tag: tag, Release: r})
	}
	return all
}
