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

// Store configures the store of a server: where it is, how it is filled and pruned, and where it is
// pushed to.
type Store struct {
	Dir         string
	DropDir     string
	AfterImport string
	PushTo      string // REGISTRY/PATH to push to; empty means no push
	Upstream    Upstream
	PrunePolicy string // path of the policy file; empty means no daily prune
	PruneAt     string // time of the daily prune, as HH:MM
}

// AddFlags adds the flags about the store, imports, prunes and pushes.
func (s *Store) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&s.Dir, "store", "", "`directory` that bundles are imported into, created if missing; its tags take precedence over those of all sources; or s3://BUCKET/PREFIX, which only other processes import into")
	f.StringVar(&s.DropDir, "drop-dir", "", "`directory` to watch: a bundle that you copy there is imported into the store once it is complete")
	f.StringVar(&s.AfterImport, "after-import", "keep", "`keep|remove` bundles in the drop directory after their import; kept bundles are moved to done/ in that directory")
	f.StringVar(&s.PrunePolicy, "prune-policy", "", "`file` with the rules for a daily prune of the store: the flags of layoutproxy prune as YAML; empty means no prune")
	f.StringVar(&s.PruneAt, "prune-at", "", "time of day for the daily prune, as `HH:MM` in the time zone of the server (TZ)")
	f.StringVar(&s.PushTo, "push-to", "", "push the store to this `REGISTRY/PATH`, at the start, and then each new generation of the store")
	s.Upstream.prefix = pushPrefix
	upstream := pflag.NewFlagSet("push-to", pflag.ContinueOnError)
	s.Upstream.AddFlags(upstream)
	upstream.VisitAll(func(flag *pflag.Flag) {
		flag.Name = pushPrefix + flag.Name
		f.AddFlag(flag)
	})
}

// check returns an error for invalid values, and for flags that cannot be combined.
func (s *Store) check() error {
	if bucket.IsPlace(s.Dir) {
		if _, err := ParsePlace(s.Dir); err != nil {
			return err
		}
		if s.DropDir != "" || s.PrunePolicy != "" {
			return exit.UsageError(exit.WithHint(errors.New("--drop-dir and --prune-policy cannot be used with a store in a bucket, which a server only reads"),
				"run the import and the prune as separate commands: layoutproxy import BUNDLE --store "+s.Dir))
		}
	}
	switch {
	case s.AfterImport != "keep" && s.AfterImport != "remove":
		return exit.UsageError(fmt.Errorf("--after-import %s: must be keep or remove", s.AfterImport))
	case s.DropDir != "" && s.Dir == "":
		return exit.UsageError(exit.WithHint(errors.New("--drop-dir needs --store"), "name the directory that the bundles are imported into: --store /srv/store"))
	case s.PushTo != "" && s.Dir == "":
		return exit.UsageError(exit.WithHint(errors.New("--push-to needs --store"), "name the store to push: --store /srv/store"))
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
		return exit.UsageError(errors.New("--prune-policy and --prune-at must be given together"))
	case s.Dir == "":
		return exit.UsageError(exit.WithHint(errors.New("--prune-policy needs --store"), "name the store to prune: --store /srv/store"))
	}
	_, err := ParseDaily(s.PruneAt)
	return err
}

// CheckPush returns an error if the registry of --push-to cannot be used with these flags, without contacting it.
func (s *Store) CheckPush() error {
	if s.PushTo == "" {
		return nil
	}
	to, err := ParseUpstream(s.PushTo)
	if err != nil {
		return err
	}
	return s.Upstream.CheckClient(to)
}

// pushPrefix is the beginning of the flags that configure the connection to the registry of
// --push-to.
const pushPrefix = "push-"

// currentName returns the current name of a flag of serve. In older versions, the flags of
// --push-to had no prefix.
func currentName(name string) string {
	upstream := pflag.NewFlagSet("push-to", pflag.ContinueOnError)
	new(Upstream).AddFlags(upstream)
	if upstream.Lookup(name) != nil {
		return pushPrefix + name
	}
	return name
}

// AcceptOldNames makes a flag set also accept the old names of flags, which the help does not show.
func AcceptOldNames(f *pflag.FlagSet) {
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return pflag.NormalizedName(currentName(name))
	})
}

// oldName returns the old name of a flag of serve, or "" if it has none.
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
		return Daily{}, exit.UsageError(fmt.Errorf("--prune-at %s: malformed time of day: write it as HH:MM, for example 03:30", text))
	}
	return Daily{t.Hour(), t.Minute()}, nil
}

// Next returns when the time of day comes next after now, in the time zone of now. If the clocks skip that
// time on a day, Next returns a time that is earlier or later by the skipped span, as [time.Date] does.
func (d Daily) Next(now time.Time) time.Time {
	for day := now.Day(); ; day++ {
		if next := time.Date(now.Year(), now.Month(), day, d.hour, d.minute, 0, 0, now.Location()); next.After(now) {
			return next
		}
	}
}
