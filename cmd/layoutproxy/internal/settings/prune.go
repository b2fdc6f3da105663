package settings

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
)

// Prune says when a server prunes its store, and by which rules.
type Prune struct {
	Policy string // file
	At     string // HH:MM
}

// AddFlags adds the flags to a set.
func (p *Prune) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&p.Policy, "prune-policy", "", "`file` with the rules by which the store is pruned daily: the flags of layoutproxy prune as YAML; empty means never")
	f.StringVar(&p.At, "prune-at", "", "`HH:MM` of the day at which the store is pruned, in the time zone of the server (TZ)")
}

// check finds what is wrong with the flags; store is the directory of the store.
func (p *Prune) check(store string) error {
	switch {
	case p.Policy == "" && p.At == "":
		return nil
	case p.Policy == "" || p.At == "":
		return exit.UsageError(errors.New("--prune-policy and --prune-at: give both or neither"))
	case store == "":
		return exit.UsageError(exit.WithHint(errors.New("--prune-policy without --store"), "name the store that is pruned: --store /srv/store"))
	}
	_, err := ParseDaily(p.At)
	return err
}

// Daily is a time of the day.
type Daily struct{ hour, minute int }

// ParseDaily reads a time of the day as HH:MM.
func ParseDaily(text string) (Daily, error) {
	t, err := time.Parse("15:04", text)
	if err != nil || len(text) != len("15:04") {
		return Daily{}, exit.UsageError(fmt.Errorf("--prune-at %s: not a time of the day, as 03:30", text))
	}
	return Daily{t.Hour(), t.Minute()}, nil
}

// Next is the next such time after now, in the time zone of now. Where clocks skip the time, it is
// as much later.
func (d Daily) Next(now time.Time) time.Time {
	for day := now.Day(); ; day++ {
		if next := time.Date(now.Year(), now.Month(), day, d.hour, d.minute, 0, 0, now.Location()); next.After(now) {
			return next
		}
	}
}
