package containerd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// Host is one host that containerd asks for the images of a registry.
type Host struct {
	Name         string   // as in the file
	Endpoint     string   // see [Endpoint]; empty if the name is not a URL
	Capabilities []string // empty: all of them
	Files        []string // certificates and keys, absolute
}

// Can reports whether the host has a capability, such as resolve.
func (h Host) Can(capability string) bool {
	return len(h.Capabilities) == 0 || slices.Contains(h.Capabilities, capability)
}

// Hosts is the content of a hosts.toml.
type Hosts struct {
	File  string
	Hosts []Host // in containerd's order, without the server
	// Server is asked last. If its name is empty, it is the registry itself.
	Server Host
}

// ReadHosts reads the hosts.toml that containerd uses for a registry below dir. The error
// wraps [fs.ErrNotExist] if there is no such file, and is an [*AdviceError] for a file
// that containerd would ignore.
func ReadHosts(dir, host string) (*Hosts, error) {
	for _, d := range append(ownDirs(dir, host), filepath.Join(dir, defaultHost)) {
		if _, err := os.Stat(d); err == nil {
			return readHosts(filepath.Join(d, hostsFile))
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%s: %w", filepath.Join(dir, hostDirectory(host), hostsFile), fs.ErrNotExist)
}

// AllHosts reads every readable hosts.toml below dir.
func AllHosts(dir string) []*Hosts {
	files, _ := filepath.Glob(filepath.Join(dir, "*", hostsFile)) // fails only for a malformed pattern
	var all []*Hosts
	for _, file := range files {
		if h, err := readHosts(file); err == nil {
			all = append(all, h)
		}
	}
	return all
}

func readHosts(file string) (*Hosts, error) {
	text, err := plainfile.Read(file, maxFile)
	if err != nil {
		return nil, err
	}
	keys, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	h := &Hosts{File: file}
	tables, _ := keys["host"].(map[string]any)
	for _, name := range hostNames(text) {
		settings, _ := tables[name].(map[string]any)
		h.Hosts = append(h.Hosts, hostOf(file, name, settings))
	}
	server, _ := keys["server"].(string)
	h.Server = hostOf(file, server, keys)
	return h, nil
}

func hostOf(file, name string, settings map[string]any) Host {
	h := Host{Name: name}
	if endpoint, err := Endpoint(name, overrides(settings)); err == nil && name != "" {
		h.Endpoint = endpoint
	}
	h.Capabilities = stringsOf(settings["capabilities"])
	for _, name := range append(stringsOf(settings["ca"]), stringsOf(settings["client"])...) {
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(file), name)
		}
		h.Files = append(h.Files, name)
	}
	return h
}

// stringsOf flattens a string, or an array of strings or of pairs of strings.
func stringsOf(v any) (all []string) {
	switch v := v.(type) {
	case string:
		if v != "" {
			all = append(all, v)
		}
	case []any:
		for _, e := range v {
			all = append(all, stringsOf(e)...)
		}
	}
	return all
}

// hostNames returns the hosts that have a table, in the order of their tables. The text is
// valid TOML.
func hostNames(text []byte) (names []string) {
	var p unstable.Parser
	p.Reset(text)
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind != unstable.Table {
			continue
		}
		var keys []string
		for it := e.Key(); it.Next(); {
			keys = append(keys, string(it.Node().Data))
		}
		if len(keys) >= 2 && keys[0] == "host" && !slices.Contains(names, keys[1]) {
			names = append(names, keys[1])
		}
	}
	return names
}
