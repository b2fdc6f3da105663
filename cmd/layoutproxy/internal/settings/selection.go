package settings

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/importer/push"
	"github.com/layoutproxy/layoutproxy/layoutstore/bucket"
	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
)

// Selection selects which archives and repositories of the sources a command pushes or compares.
type Selection struct {
	files        []string
	Repositories push.Selection
	VerifyKey    *inventory.VerifyKey // public key for the signature of the sources; nil requires no signature
}

// AddFlags adds the flags. The help of --file and --include begins with verb, such as "push".
func (s *Selection) AddFlags(f *pflag.FlagSet, verb string) {
	f.StringArrayVar(&s.files, "file", nil, verb+" only the `archive` with this file name; repeatable")
	f.StringArrayVar(&s.Repositories.Include, "include", nil, verb+" only repositories whose path below the root matches this `glob`, or is below a path that matches it; repeatable")
	f.StringArrayVar(&s.Repositories.Exclude, "exclude", nil, "skip repositories whose path matches this `glob`; repeatable")
	f.StringVar(&s.Repositories.ModulesPath, "modules-path-suffix", "", "`path` below the destination for modules, instead of \"modules\"; / means the destination itself")
}

// AddEditionFlag adds --no-edition-split to commands that name repositories.
func AddEditionFlag(f *pflag.FlagSet, off *bool) {
	f.BoolVar(off, "no-edition-split", false, "put installer and deckhouse-cli below the edition (deckhouse/ee/installer), like older tools, instead of beside it (deckhouse/installer)")
}

// Check returns an error if a pattern is malformed.
func (s *Selection) Check() error {
	if err := s.Repositories.Check(); err != nil {
		return exit.UsageError(err)
	}
	return nil
}

// Sources returns the selected archives in the sources, or all sources if no archive is selected.
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
			if bucket.IsPlace(source) && filepath.Base(source) != file {
				chosen = append(chosen, strings.TrimRight(source, "/")+"/"+file) // Opening the archive will show whether it exists.
				continue
			}
			for _, name := range []string{file, file + ".0000.chunk"} {
				if path := filepath.Join(source, name); isFile(path) {
					chosen = append(chosen, path)
					break
				}
			}
		}
		if len(chosen) == before {
			return nil, exit.WithHint(fmt.Errorf("--file %s: no such archive in %s", file, strings.Join(sources, ", ")), "use the file name of the archive without a chunk number, for example platform.tar")
		}
	}
	return chosen, nil
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}
