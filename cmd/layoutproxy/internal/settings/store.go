package settings

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
)

// Store configures where the store of a server is, how it is filled and pruned, and where it is
// pushed.
type Store struct {
	Dir         string
	DropDir     string
	AfterImport string
	PushTo      string // REGISTRY/PATH
	Upstream    Upstream
	PrunePolicy string // file
	PruneAt     string // HH:MM
}

// AddFlags adds the flags to a set.
func (s *Store) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&s.Dir, "store", "", "`directory` that bundles are imported into, served after all sources, and created if missing; or s3://BUCKET/PREFIX, which other processes import into")
	f.StringVar(&s.DropDir, "drop-dir", "", "`directory` to watch: bundles that are copied there are imported into the store once they are complete")
	f.StringVar(&s.AfterImport, "after-import", "keep", "`keep|remove` a bundle of the drop directory after its import; a kept one is moved to done/ in that directory")
	f.StringVar(&s.PrunePolicy, "prune-policy", "", "`file` with the rules by which the store is pruned daily: the flags of layoutproxy prune as YAML; empty means never")
	f.StringVar(&s.PruneAt, "prune-at", "", "`HH:MM` of the day at which the store is pruned, in the time zone of the server (TZ)")
	f.StringVar(&s.PushTo, "push-to", "", "`REGISTRY/PATH` to push the store to, at the start and after each import")
	s.Upstream.prefix = pushPrefix
	upstream := pflag.NewFlagSet("push-to", pflag.ContinueOnError)
	s.Upstream.AddFlags(upstream)
	upstream.VisitAll(func(flag *pflag.Flag) {
		flag.Name = pushPrefix + flag.Name
		f.AddFlag(flag)
	})
}

// check finds wrong values, and flags that cannot be combined.
func (s *Store) check() error {
	if bucket.IsPlace(s.Dir) {
		if _, err := ParsePlace(s.Dir); err != nil {
			return err
		}
		if s.DropDir != "" || s.PrunePolicy != "" {
			return exit.UsageError(exit.WithHint(errors.New("--drop-dir and --prune-policy write to the store, and a server only reads one in a bucket"),
				"import and prune by other processes: layoutproxy import BUNDLE --store "+s.Dir))
		}
	}
	switch {
	case s.AfterImport != "keep" && s.AfterImport != "remove":
		return exit.UsageError(fmt.Errorf("--after-import %s: must be keep or remove", s.AfterImport))
	case s.DropDir != "" && s.Dir == "":
		return exit.UsageError(exit.WithHint(errors.New("--drop-dir without --store"), "name the directory that the bundles are imported into: --store /srv/store"))
	case s.PushTo != "" && s.Dir == "":
		return exit.UsageError(exit.WithHint(errors.New("--push-to without --store"), "it pushes what is imported into a store: --store /srv/store"))
	case s.PushTo != "":
		if _, err := ParseUpstream(s.PushTo); err != nil {
			return err
		}
		if err := s.Upstream.Check(); err != nil {
			return err
		}
	}
	switch {
	case s.PrunePolicy == "" && s.PruneAt == "":
		return nil
	case s.PrunePolicy == "" || s.PruneAt == "":
		return exit.UsageError(errors.New("--prune-policy and --prune-at: give both or neither"))
	case s.Dir == "":
		return exit.UsageError(exit.WithHint(errors.New("--prune-policy without --store"), "name the store that is pruned: --store /srv/store"))
	}
	_, err := ParseDaily(s.PruneAt)
	return err
}

// pushPrefix begins the names of the flags that say how --push-to reaches its registry.
const pushPrefix = "push-"

// currentName returns the current name of a flag of serve. The flags of --push-to once had no prefix.
func currentName(name string) string {
	upstream := pflag.NewFlagSet("push-to", pflag.ContinueOnError)
	new(Upstream).AddFlags(upstream)
	if upstream.Lookup(name) != nil {
		return pushPrefix + name
	}
	return name
}

// AcceptOldNames makes a set accept the old names of flags too. They are not in the help.
func AcceptOldNames(f *pflag.FlagSet) {
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return pflag.NormalizedName(currentName(name))
	})
}

// oldName returns the old name of a flag of serve, or empty.
func oldName(name string) string {
	if old, ok := strings.CutPrefix(name, pushPrefix); ok && currentName(old) == name {
		return old
	}
	return ""
}

// Daily is a time of the day.
type Daily struct{ hour, minute int }

// ParseDaily parses a time of the day as HH:MM.
func ParseDaily(text string) (Daily, error) {
	t, err := time.Parse("15:04", text)
	if err != nil || len(text) != len("15:04") {
		return Daily{}, exit.UsageError(fmt.Errorf("--prune-at %s: not a time of the day, as 03:30", text))
	}
	return Daily{t.Hour(), t.Minute()}, nil
}

// Next returns the next such time after now, in the time zone of now. If the clocks skip that time
// on a day, the result is later by as much as they skip.
func (d Daily) Next(now time.Time) time.Time {
	for day := now.Day(); ; day++ {
		if next := time.Date(now.Year(), now.Month(), day, d.hour, d.minute, 0, 0, now.Location()); next.After(now) {
			return next
		}
	}
}
