package release

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Release channels that decide more than others.
const (
	Alpha     = "alpha"
	RockSolid = "rock-solid"
	LTS       = "lts" // the channel beside which the others may be missing
)

// DefaultChannels returns the release channels that a source must have, from the newest
// to the oldest release.
func DefaultChannels() []string {
	return []string{Alpha, "beta", "early-access", "stable", RockSolid}
}

// Channels returns all release channels, in the same order.
func Channels() []string { return append(DefaultChannels(), LTS) }

// Channel is a release channel, and what its image says.
type Channel struct {
	Name      string
	Tag       string // of the release that it points at
	Suspended bool
	Release   Release // zero where the tag is no version
}

// The files of the image of a release channel or of a release.
const (
	VersionFile   = "version.json"
	ChangelogFile = "changelog.yaml"
)

// ParseChannel reads the version file of the image of a release channel. The tag that a
// channel points at begins with "v", whether the version in the file does or not.
func ParseChannel(name string, file []byte) (Channel, error) {
	var doc struct {
		Version string `json:"version"`
		Suspend bool   `json:"suspend"`
	}
	if file == nil {
		return Channel{}, errors.New("its image has no " + VersionFile)
	}
	if err := json.Unmarshal(file, &doc); err != nil {
		return Channel{}, fmt.Errorf("%s: %w", VersionFile, err)
	}
	if doc.Version == "" {
		return Channel{}, errors.New(VersionFile + " names no version")
	}
	c := Channel{Name: name, Tag: doc.Version, Suspended: doc.Suspend}
	if r, isVersion := Parse(doc.Version); isVersion {
		c.Release = r
		if !strings.HasPrefix(c.Tag, "v") {
			c.Tag = "v" + c.Tag
		}
	}
	return c, nil
}
