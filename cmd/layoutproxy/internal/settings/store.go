package settings

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
)

// Store says where the store of a server is, and what it is filled from and pushed to.
type Store struct {
	Dir  string
	Drop Drop
	Push PushTo
}

// AddFlags adds the flags to a set.
func (s *Store) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&s.Dir, "store", "", "`directory` that bundles are imported into, served after all sources; it is made if it is not there")
	s.Drop.AddFlags(f)
	s.Push.AddFlags(f)
}

// Drop says which directory bundles are dropped into, and what becomes of them.
type Drop struct {
	Dir   string
	After string
}

// AddFlags adds the flags to a set.
func (d *Drop) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&d.Dir, "drop-dir", "", "`directory` whose bundles are imported into the store when they are whole")
	f.StringVar(&d.After, "after-import", "keep", "`keep|remove` a bundle of the drop directory that was imported; kept ones go to done/ in it")
}

// check finds what is wrong with the flags; store is the directory of the store.
func (d *Drop) check(store string) error {
	if d.After != "keep" && d.After != "remove" {
		return exit.UsageError(fmt.Errorf("--after-import %s: keep or remove", d.After))
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
	f.StringVar(&p.To, "push-to", "", "`REGISTRY/PATH` that the store is pushed to at the start and after each import")
	p.Upstream.AddFlags(f)
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
