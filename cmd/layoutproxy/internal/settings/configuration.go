package settings

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
)

// Configuration completes the command line with the environment and a file. Both can set flags of the
// command by name, but the file cannot set those in notSettings. The command line takes precedence over
// the environment, the environment over the file.
type Configuration struct {
	file  string
	Check bool

	set     *pflag.FlagSet
	given   map[string][]string // Values of the flags that the command line sets.
	args    []string            // Sources that the command line names.
	Sources []string
	Roots   map[string][]string // Roots by source, for sources that have their own roots.
	unknown []string            // Names of unknown variables that begin with LAYOUTPROXY_.
}

// AddFlags adds --config and --check-config.
func (c *Configuration) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&c.file, "config", "", "YAML `file` with these settings and the sources; the environment overrides the file, and flags override both")
	f.BoolVar(&c.Check, "check-config", false, "check the configuration and exit")
}

// notSettings are flags that the file cannot set.
var notSettings = []string{"config", "check-config", "help"}

// complete sets the flags of f that the command line does not set, from the environment or else
// from the file. Sources come from args, or from the file if args is empty. If the environment or
// the file is malformed, the error is an [exit.UsageError]. Other errors come from reading the
// file.
func (c *Configuration) complete(f *pflag.FlagSet, args, environ []string) error {
	c.set, c.args, c.given = f, args, map[string][]string{}
	f.Visit(func(flag *pflag.Flag) { c.given[flag.Name] = flagValues(flag) })
	if err := c.readEnvironment(environ); err != nil {
		return exit.UsageError(err)
	}
	if c.file != "" {
		if err := c.readFile(); err != nil {
			return err
		}
	}
	if len(args) > 0 {
		c.Sources, c.Roots = args, nil
	}
	return nil
}

// flagValues returns the values of a flag. A flag that is not a list has one value.
func flagValues(flag *pflag.Flag) []string {
	if list, ok := flag.Value.(pflag.SliceValue); ok {
		return list.GetSlice()
	}
	return []string{flag.Value.String()}
}

// setFlag sets a flag. A flag that is not a list gets the first of the values.
func setFlag(flag *pflag.Flag, values []string) error {
	flag.Changed = true
	if list, ok := flag.Value.(pflag.SliceValue); ok {
		return list.Replace(values)
	}
	return flag.Value.Set(values[0])
}

const variablePrefix = "LAYOUTPROXY_"

func variable(flag string) string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// readEnvironment sets flags from their variables, even if a variable is empty. It does not change
// flags that the command line has set. Commas separate the values of a list.
func (c *Configuration) readEnvironment(environ []string) error {
	values := map[string]string{}
	for _, e := range environ {
		if name, value, ok := strings.Cut(e, "="); ok && strings.HasPrefix(name, variablePrefix) {
			values[name] = value
		}
	}
	known := []string{variablePrefix + "PASSWORD"} // There is no flag for the password: chooseLogin reads this variable.
	var failed error
	c.set.VisitAll(func(flag *pflag.Flag) {
		name := variable(flag.Name)
		if flag.Name == "help" {
			return
		}
		known = append(known, name)
		value, there := values[name]
		if old := oldName(flag.Name); old != "" {
			known = append(known, variable(old))
			if !there {
				name = variable(old)
				value, there = values[name]
			}
		}
		if !there || flag.Changed || failed != nil {
			return
		}
		list := []string{value}
		if _, ok := flag.Value.(pflag.SliceValue); ok {
			list = strings.Split(value, ",")
		}
		if err := setFlag(flag, list); err != nil {
			failed = fmt.Errorf("%s=%s: %w", name, value, err)
			// The value may be a password by mistake, so the message does not show it.
			if strings.HasSuffix(flag.Name, "password-stdin") {
				failed = fmt.Errorf("%s: must be true or false", name)
			}
		}
	})
	for name := range values {
		if !slices.Contains(known, name) && !isServiceLink(name) {
			c.unknown = append(c.unknown, fmt.Sprintf("%s; the nearest setting is %s", name, nearest(name, known)))
		}
	}
	slices.Sort(c.unknown)
	return failed
}

// isServiceLink reports whether name is a variable that Kubernetes sets in pods if there is a
// service named layoutproxy.
func isServiceLink(name string) bool {
	name = strings.TrimPrefix(name, variablePrefix)
	return name == "PORT" || strings.HasPrefix(name, "PORT_") || strings.HasPrefix(name, "SERVICE_")
}

// Warn logs the unknown variables that begin with LAYOUTPROXY_.
func (c *Configuration) Warn(log *zap.Logger) {
	for _, variable := range c.unknown {
		log.Warn("unknown setting in the environment: layoutproxy ignores it", zap.String("variable", variable))
	}
}

// ChangedSince returns the names of changed settings that take effect only after a restart.
func (c *Configuration) ChangedSince(old *Configuration) []string {
	var names []string
	c.set.VisitAll(func(flag *pflag.Flag) {
		was := old.set.Lookup(flag.Name)
		if was != nil && !slices.Contains(readAgain, flag.Name) && !slices.Equal(flagValues(flag), flagValues(was)) {
			names = append(names, flag.Name)
		}
	})
	return names
}

// readAgain are the settings that a reload (SIGHUP) applies, besides the sources.
var readAgain = []string{
	"root-repository", "index-repository", "no-edition-split",
	"htpasswd", "token-realm", "token-service", "token-issuer", "token-root-certs", "token-jwks",
}

// nearest returns the name that is the fewest edits away from the text that the user has written. If that
// text has more than two bytes, and a name begins with it, the rest of the name counts as one edit.
func nearest(written string, names []string) string {
	written = written[:min(len(written), 100)]
	best, least := "", 1<<30
	for _, name := range names {
		d := distance(written, name)
		if len(written) > 2 && strings.HasPrefix(name, written) {
			d = min(d, 1)
		}
		if d < least {
			best, least = name, d
		}
	}
	return best
}

// distance returns how many bytes have to be inserted, deleted or replaced to turn a into b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
