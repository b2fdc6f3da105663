package pull

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/closure"
)

// defaultChannels are the release channels that a source has to have, from the newest
// to the oldest release.
func defaultChannels() []string {
	return []string{alpha, "beta", "early-access", "stable", rockSolid}
}

const (
	alpha     = "alpha"
	rockSolid = "rock-solid"
	lts       = "lts" // the channel beside which the others may be missing
)

func allChannels() []string { return append(defaultChannels(), lts) }

// SuspendedError says that a pull resolves to release channels that the vendor has
// suspended.
type SuspendedError struct{ Channels []string }

func (e *SuspendedError) Error() string {
	noun := "release channels"
	if len(e.Channels) == 1 {
		noun = "release channel"
	}
	return fmt.Sprintf("%s suspended in the source: %s", noun, strings.Join(e.Channels, ", "))
}

// channel is a release channel, and what its image says.
type channel struct {
	name      string
	tag       string // of the release that it points at
	suspended bool
	release   release // zero where the tag is no version
}

// versionDoc is version.json in the image of a release channel.
type versionDoc struct {
	Version string `json:"version"`
	Suspend bool   `json:"suspend"`
}

// channel reads the release channel that is a tag of a repository, if it is there.
func (p *planner) channel(ctx context.Context, repository, name string) (c channel, ok bool, err error) {
	image, err := p.src.resolve(ctx, repository, name)
	if absent(err) {
		return channel{}, false, nil
	}
	if err != nil {
		return channel{}, false, broken(repository, name, err)
	}
	doc, err := p.version(ctx, repository, image)
	if err != nil {
		return channel{}, false, broken(repository, name, err)
	}
	c = channel{name: name, tag: doc.Version, suspended: doc.Suspend}
	if r, isVersion := parseRelease(doc.Version); isVersion {
		c.release = r
		if !strings.HasPrefix(c.tag, "v") {
			c.tag = "v" + c.tag
		}
	}
	return c, true, nil
}

func (p *planner) version(ctx context.Context, repository string, image closure.Descriptor) (doc versionDoc, err error) {
	files, err := p.src.imageFiles(ctx, repository, image, "version.json")
	if err != nil {
		return doc, err
	}
	data, ok := files["version.json"]
	if !ok {
		return doc, unusable{errors.New("its image has no version.json")}
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		return doc, unusable{fmt.Errorf("version.json: %w", err)}
	}
	if doc.Version == "" {
		return doc, unusable{errors.New("version.json names no version")}
	}
	return doc, nil
}

// channels reads those release channels of a repository that are there, in their order. The
// gaps are those that are there and cannot be read.
func (p *planner) channels(ctx context.Context, repository string) (all []channel, gaps []Gap, err error) {
	names := allChannels()
	found, broken := make([]channel, len(names)), make([]*IncompleteError, len(names))
	err = p.each(ctx, len(names), func(ctx context.Context, i int) error {
		c, ok, err := p.channel(ctx, repository, names[i])
		if ok {
			found[i] = c
		}
		if errors.As(err, &broken[i]) {
			return nil
		}
		return err
	})
	for _, b := range broken {
		if b != nil {
			gaps = append(gaps, b.Gaps...)
		}
	}
	return slices.DeleteFunc(found, func(c channel) bool { return c.name == "" }), gaps, err
}

// suspended are the names of those channels that are, unless that is to be ignored.
func (p *planner) suspended(all []channel) error {
	var names []string
	for _, c := range all {
		if c.suspended && !p.Selection.IgnoreSuspend {
			names = append(names, c.name)
		}
	}
	if len(names) > 0 {
		return &SuspendedError{names}
	}
	return nil
}

// pointing says, for people, which channel points where.
func (c *Component) pointing(name, tag string) {
	if c.Channels == nil {
		c.Channels = map[string]string{}
	}
	c.Channels[name] = tag
}

// Channels are the names of a component's release channels, from the newest release to
// the oldest.
func Channels(c *Component) []string {
	return slices.DeleteFunc(allChannels(), func(name string) bool { _, ok := c.Channels[name]; return !ok })
}
