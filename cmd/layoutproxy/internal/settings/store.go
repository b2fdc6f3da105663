package settings

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
)

// Store says where the store of a server is, and what it is filled from and pushed to.
type Store struct {
	Dir   string
	Drop  Drop
	Push  PushTo
	Prune Prune
}

// AddFlags adds the flags to a set.
func (s *Store) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&s.Dir, "store", "", "`directory` that bundles are imported into, served after all sources, and created if missing; or s3://BUCKET/PREFIX, which other processes import into")
	s.Drop.AddFlags(f)
	s.Push.AddFlags(f)
	s.Prune.AddFlags(f)
}

// check finds what is wrong with the flags.
func (s *Store) check() error {
	if bucket.IsPlace(s.Dir) {
		if _, err := ParsePlace(s.Dir); err != nil {
			return err
		}
		if s.Drop.Dir != "" || s.Prune.Policy != "" {
			return exit.UsageError(exit.WithHint(errors.New("--drop-dir and --prune-policy write to the store, and a server only reads one in a bucket"),
				"import and prune by other processes: layoutproxy import BUNDLE --store "+s.Dir))
		}
	}
	return cmp.Or(s.Drop.check(s.Dir), s.Push.check(s.Dir), s.Prune.check(s.Dir))
}

// Drop says which directory bundles are dropped into, and what becomes of them.
type Drop struct {
	Dir   string
	After string
}

// AddFlags adds the flags to a set.
func (d *Drop) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&d.Dir, "drop-dir", "", "`directory` to watch: bundles that are copied there are imported into the store once they are complete")
	f.StringVar(&d.After, "after-import", "keep", "`keep|remove` a bundle of the drop directory after its import; a kept one is moved to done/ in that directory")
}

// check finds what is wrong with the flags; store is the directory of the store.
func (d *Drop) check(store string) error {
	if d.After != "keep" && d.After != "remove" {
		return exit.UsageError(fmt.Errorf("--after-import %s: must be keep or remove", d.After))
	}
	if d.Dir == "" {
		return nil
	}
	if store == "" {
		return exit.UsageError(exit.WithHint(errors.New("--drop-dir without --store"), "name the directory that the bundles are imported into: --store /srv/store"))
	}
	return nil
}

// PushTo names a registry that gets what is imported.
type PushTo struct {
	To       string
	Upstream Upstream
}

// AddFlags adds the flags to a set.
func (p *PushTo) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&p.To, "push-to", "", "`REGISTRY/PATH` to push the store to, at the start and after each import")
	p.Upstream.prefix = pushPrefix
	upstream := pflag.NewFlagSet("push-to", pflag.ContinueOnError)
	p.Upstream.AddFlags(upstream)
	upstream.VisitAll(func(flag *pflag.Flag) {
		flag.Name = pushPrefix + flag.Name
		f.AddFlag(flag)
	})
}

// pushPrefix begins the names of the flags that say how --push-to reaches its registry.
const pushPrefix = "push-"

// currentName returns the name of a flag of serve that had another one: the flags of --push-to once
// had no prefix. Every other name is returned as it is.
func currentName(name string) string {
	upstream := pflag.NewFlagSet("push-to", pflag.ContinueOnError)
	new(Upstream).AddFlags(upstream)
	if upstream.Lookup(name) != nil {
		return pushPrefix + name
	}
	return name
}

// AcceptOldNames has a set take the old names of flags too. No help shows them.
func AcceptOldNames(f *pflag.FlagSet) {
	f.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		return pflag.NormalizedName(currentName(name))
	})
}

// oldName returns the name that a flag of serve had before, or empty.
func oldName(name string) string {
	if old, ok := strings.CutPrefix(name, pushPrefix); ok && currentName(old) == name {
		return old
	}
	return ""
}

// check finds what is wrong with the flags; store is the directory of the store.
func (p *PushTo) check(store string) error {
	if p.To == "" {
		return nil
	}
	if store == "" {
		return exit.UsageError(exit.WithHint(errors.New("--push-to without --store"), "it pushes what is imported into a store: --store /srv/store"))
	}
	if _, err := ParseUpstream(p.To); err != nil {
		return err
	}
	return p.Upstream.Check()
}
