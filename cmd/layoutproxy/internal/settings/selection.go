package settings

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/importer/push"
)

// Selection says what of the sources is pushed, or compared.
type Selection struct {
	files        []string
	Repositories push.Selection
}

// AddFlags adds the flags to a set.
func (s *Selection) AddFlags(f *pflag.FlagSet) {
	f.StringArrayVar(&s.files, "file", nil, "push this `archive` of the sources only, by its name; repeatable")
	f.StringArrayVar(&s.Repositories.Include, "include", nil, "push repositories only whose path below the root matches this `glob`, or lies below one that does; repeatable")
	f.StringArrayVar(&s.Repositories.Exclude, "exclude", nil, "leave those out whose path matches this `glob`; repeatable")
	f.StringVar(&s.Repositories.ModulesPath, "modules-path-suffix", "", "`path` below the destination that takes the place of modules; / is the destination itself")
}

// AddEditionFlag adds the flag of each command that names repositories below a root or a
// destination.
func AddEditionFlag(f *pflag.FlagSet, off *bool) {
	f.BoolVar(off, "no-edition-split", false, "name installer and deckhouse-cli below an edition, as deckhouse/ee/installer, and not beside it, as older tools did")
}

// Check finds patterns that are none.
func (s *Selection) Check() error {
	if err := s.Repositories.Check(); err != nil {
		return exit.UsageError(err)
	}
	return nil
}

// Sources are the sources, or the archives in them that are to be pushed.
func (s *Selection) Sources(sources []string) ([]string, error) {
	if len(s.files) == 0 {
		return sources, nil
	}
	var chosen []string
	for _, file := range s.files {
		before := len(chosen)
		for _, source := range sources {
			if filepath.Base(source) == file {
				chosen = append(chosen, source)
			}
			for _, name := range []string{file, file + ".0000.chunk"} {
				if path := filepath.Join(source, name); isFile(path) {
					chosen = append(chosen, path)
					break
				}
			}
		}
		if len(chosen) == before {
			return nil, exit.WithHint(fmt.Errorf("--file %s: no such archive in %s", file, strings.Join(sources, ", ")), "name it as it lies there, as platform.tar; also if it is in chunks")
		}
	}
	return chosen, nil
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}
