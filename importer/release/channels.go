package release

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Release channels with rules of their own.
const (
	Alpha     = "alpha"
	RockSolid = "rock-solid"
	LTS       = "lts" // a source with this channel need not have the others
)

// DefaultChannels returns the release channels that a source must have, from the least to the
// most stable.
func DefaultChannels() []string {
	return []string{Alpha, "beta", "early-access", "stable", RockSolid}
}

// Channels returns all release channels, in the same order.
func Channels() []string { return append(DefaultChannels(), LTS) }

// Channel is a release channel and the content of its image.
type Channel struct {
	Name      string
	Tag       string // of the release to which the channel points
	Suspended bool
	Release   Release // the zero value if Tag is not a version
}

// The files of the image of a release channel or of a release.
const (
	VersionFile   = "version.json"
	ChangelogFile = "changelog.yaml"
)

// parseVersionFile decodes the version file of an image, which is nil if the image has none.
func parseVersionFile(file []byte, doc any) error {
	if file == nil {
		return errors.New("its image has no " + VersionFile)
	}
	if err := json.Unmarshal(file, doc); err != nil {
		return fmt.Errorf("%s: %w", VersionFile, err)
	}
	return nil
}

// ParseChannel reads the version file of the image of a release channel. The resulting tag
// always begins with "v", even if the version in the file does not.
func ParseChannel(name string, file []byte) (Channel, error) {
	var doc struct {
		Version string `json:"version"`
		Suspend bool   `json:"suspend"`
	}
	if err := parseVersionFile(file, &doc); err != nil {
		return Channel{}, err
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
