package deckhouse

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize/english"

	"github.com/layoutproxy/layoutproxy/importer/pull"
	"github.com/layoutproxy/layoutproxy/importer/release"
)

// SuspendedError reports that a pull needs release channels that the vendor has suspended.
type SuspendedError struct{ Channels []string }

func (e *SuspendedError) Error() string {
	noun := english.PluralWord(len(e.Channels), "release channel", "")
	return fmt.Sprintf("the source has suspended the %s %s", noun, strings.Join(e.Channels, ", "))
}

// checkSuspended fails if one of the channels is suspended, unless the selection has IgnoreSuspend.
func (s *Selection) checkSuspended(all []release.Channel) error {
	var names []string
	for _, c := range all {
		if c.Suspended && !s.IgnoreSuspend {
			names = append(names, c.Name)
		}
	}
	if len(names) > 0 {
		return &SuspendedError{names}
	}
	return nil
}

// readChannel reads the release channel with a name. ok is false if the repository does not have
// it.
func (p *planner) readChannel(ctx context.Context, repository, name string) (c release.Channel, ok bool, err error) {
	image, err := p.source.Resolve(ctx, repository, name)
	if pull.IsAbsent(err) {
		return c, false, nil
	}
	if err != nil {
		return c, false, pull.ImageError(repository, name, err)
	}
	files, err := p.source.Files(ctx, repository, image, release.VersionFile)
	if err != nil {
		return c, false, pull.ImageError(repository, name, err)
	}
	if c, err = release.ParseChannel(name, files[release.VersionFile]); err != nil {
		return c, false, pull.ImageError(repository, name, &pull.UnusableError{Err: err})
	}
	return c, true, nil
}

// readChannels reads the release channels of a repository, in the order of release.Channels. It
// returns problems of channels that exist but cannot be read.
func (p *planner) readChannels(ctx context.Context, repository string) (all []release.Channel, problems []pull.Problem, err error) {
	names := release.Channels()
	found, broken := make([]release.Channel, len(names)), make([]*pull.IncompleteError, len(names))
	err = p.draft.Each(ctx, len(names), func(ctx context.Context, i int) error {
		c, ok, err := p.readChannel(ctx, repository, names[i])
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
			problems = append(problems, b.Problems...)
		}
	}
	return slices.DeleteFunc(found, func(c release.Channel) bool { return c.Name == "" }), problems, err
}

// Channels returns the names of a component's release channels. The channel with the newest
// releases comes first.
func Channels(c *pull.Component) []string {
	return slices.DeleteFunc(release.Channels(), func(name string) bool { _, ok := c.Channels[name]; return !ok })
}
