package release

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
)

// Release channels for which special rules apply.
const (
	Alpha     = "alpha"
	RockSolid = "rock-solid"
	LTS       = "lts" // long-term support; a source with this channel may not have the others
)

// DefaultChannels returns the release channels that a source normally has, from the least to the most stable.
func DefaultChannels() []string {
	return []string{Alpha, "beta", "early-access", "stable", RockSolid}
}

// Channels returns all release channels: the default ones, and then [LTS].
func Channels() []string { return append(DefaultChannels(), LTS) }

// Channel is a release channel, with the content of its image.
type Channel struct {
	Name      string
	Tag       string // tag of the release to which the channel points
	Suspended bool
	Release   Release // Tag as a version; zero if it is not a version
}

// Files in the image of a release channel or of a release.
const (
	VersionFile   = "version.json"
	ChangelogFile = "changelog.yaml"
)

// parseVersionFile decodes the version file of an image into doc. If file is nil, it returns an error.
func parseVersionFile(file []byte, doc any) error {
	if file == nil {
		return errors.New("its image has no " + VersionFile)
	}
	if err := json.Unmarshal(file, doc); err != nil {
		return fmt.Errorf("%s: %w", VersionFile, err)
	}
	return nil
}

// ParseChannel parses the version file of a release channel. If the file has a version without "v", such as
// 1.69.3, the tag of the channel gets a "v".
func ParseChannel(name string, file []byte) (Channel, error) {
	var doc struct {
		Version string `json:"version"`
		Suspend bool   `json:"suspend"`
	}
	if err := parseVersionFile(file, &doc); err != nil {
		return Channel{}, err
	}
	if doc.Version == "" {
		return Channel{}, errors.New(VersionFile + " has no version")
	}
	c := Channel{Name: name, Tag: doc.Version, Suspended: doc.Suspend}
	if r, isVersion := Parse(doc.Version); isVersion {
		c.Release = r
		if !strings.HasPrefix(c.Tag, "v") {
			c.Tag = "v" + c.Tag
		}
	}
	if err := names.CheckTag(c.Tag); err != nil {
		return Channel{}, fmt.Errorf("%s: the version %.80q is not a tag: %w", VersionFile, doc.Version, err)
	}
	return c, nil
}
