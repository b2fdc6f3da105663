package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// maxConfig is the size of the largest configuration file that is read, in bytes.
const maxConfig = 1 << 20

// readFile reads the sources and settings from the file. It sets no flag that the command line or
// the environment has set.
func (c *Configuration) readFile() error {
	f, err := plainfile.Open(c.file)
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	if err := c.parse(data); err != nil {
		return exit.UsageError(fmt.Errorf("%s:%w", c.file, err))
	}
	return nil
}

// parse reads the sources and settings from the content of a file. Its errors begin with a line
// number.
func (c *Configuration) parse(data []byte) error {
	if len(data) > maxConfig {
		return fmt.Errorf("1: the file is longer than %d bytes", maxConfig)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document, second yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return nil // the file contains only comments
	} else if err != nil {
		return syntaxError(err)
	}
	if err := decoder.Decode(&second); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%d: the file has a second YAML document: only one configuration is allowed", max(second.Line, 1))
	}
	settings := map[string]*pflag.Flag{}
	known := []string{"sources"}
	c.set.VisitAll(func(flag *pflag.Flag) {
		if !slices.Contains(notSettings, flag.Name) {
			settings[flag.Name] = flag
			known = append(known, flag.Name)
			if old := oldName(flag.Name); old != "" {
				settings[old] = flag
				known = append(known, old)
			}
		}
	})
	root := document.Content[0]
	if root.Tag == "!!null" {
		return nil
	}
	return eachKey(root, known, func(key string, value *yaml.Node) error {
		if key == "sources" {
			return c.parseSources(value)
		}
		return c.parseSetting(settings[key], value)
	})
}

// syntaxError turns an error of the YAML library into one that begins with the line number.
func syntaxError(err error) error {
	if m := regexp.MustCompile(`^yaml: (?:line )?(\d+): (.*)`).FindStringSubmatch(err.Error()); m != nil {
		return fmt.Errorf("%s: %s", m[1], m[2])
	}
	return fmt.Errorf("1: %w", err)
}

// eachKey calls do for each key of a mapping. An unknown or repeated key is an error.
func eachKey(node *yaml.Node, known []string, do func(string, *yaml.Node) error) error {
	if node.Kind != yaml.MappingNode {
		return fmt.Errorf("%d: expected lines of the form KEY: VALUE", node.Line)
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key := node.Content[i]
		switch {
		case key.Kind != yaml.ScalarNode || !slices.Contains(known, key.Value):
			return fmt.Errorf("%d: unknown key %.100q: the most similar key is %q", key.Line, key.Value, nearest(key.Value, known))
		case seen[key.Value]:
			return fmt.Errorf("%d: duplicate key %q", key.Line, key.Value)
		}
		seen[key.Value] = true
		if err := do(key.Value, node.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// parseSetting checks the value of a setting. It sets the flag, unless the command line or the
// environment has set it.
func (c *Configuration) parseSetting(flag *pflag.Flag, node *yaml.Node) error {
	_, isList := flag.Value.(pflag.SliceValue)
	values, err := texts(node, isList)
	if err != nil {
		return fmt.Errorf("%d: %s: %w", node.Line, flag.Name, err)
	}
	before, changed := flagValues(flag), flag.Changed
	if err := setFlag(flag, values); err != nil {
		return fmt.Errorf("%d: %s: %w", node.Line, flag.Name, err)
	}
	if changed {
		return setFlag(flag, before)
	}
	return nil
}

// texts returns the values of a YAML node. A node may have several values only if isList is true.
func texts(node *yaml.Node, isList bool) ([]string, error) {
	if node.Kind == yaml.SequenceNode && isList {
		values := []string{}
		for _, n := range node.Content {
			one, err := texts(n, false)
			if err != nil {
				return nil, err
			}
			values = append(values, one...)
		}
		return values, nil
	}
	switch {
	case node.Kind == yaml.AliasNode:
		return nil, errors.New("YAML aliases are not supported: write the value")
	case node.Kind != yaml.ScalarNode && isList:
		return nil, errors.New("expected a value or a list of values")
	case node.Kind != yaml.ScalarNode:
		return nil, errors.New("expected a single value")
	case node.Tag == "!!null":
		return nil, errors.New(`the value is missing: write "" for an empty value`)
	}
	return []string{node.Value}, nil
}

// parseSources parses the list of sources: paths, or mappings with a path and its own roots.
func (c *Configuration) parseSources(node *yaml.Node) error {
	if node.Kind != yaml.SequenceNode {
		return fmt.Errorf("%d: sources: not a list", node.Line)
	}
	c.Sources, c.Roots = []string{}, map[string][]string{}
	for _, n := range node.Content {
		path, roots, err := parseSource(n)
		if err != nil {
			return err
		}
		if slices.Contains(c.Sources, path) {
			return fmt.Errorf("%d: sources: duplicate source %s", n.Line, path)
		}
		c.Sources = append(c.Sources, path)
		if len(roots) > 0 {
			c.Roots[path] = roots
		}
	}
	return nil
}

func parseSource(node *yaml.Node) (path string, roots []string, err error) {
	values := map[string][]string{}
	read := func(key string, n *yaml.Node) (err error) {
		if values[key], err = texts(n, key == "root-repository"); err != nil {
			err = fmt.Errorf("%d: sources: %w", n.Line, err)
		}
		return err
	}
	if node.Kind == yaml.MappingNode {
		err = eachKey(node, []string{"path", "root-repository"}, read)
	} else {
		err = read("path", node)
	}
	if path = strings.Join(values["path"], ""); err == nil && path == "" {
		err = fmt.Errorf("%d: sources: the entry has no path", node.Line)
	}
	return path, values["root-repository"], err
}
