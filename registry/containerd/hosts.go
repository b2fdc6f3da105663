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

// Host is one host that containerd may ask for the images of a registry.
type Host struct {
	Name string
	// Endpoint is the URL of the host; see [Endpoint]. It is empty if the name is not a URL.
	Endpoint string
	// Capabilities lists what the host may be asked for. If the list is empty, the host may be
	// asked for everything.
	Capabilities []string
	// Files are the absolute paths of certificates and keys.
	Files []string
}

// Can reports whether the host has a capability, such as resolve.
func (h Host) Can(capability string) bool {
	return len(h.Capabilities) == 0 || slices.Contains(h.Capabilities, capability)
}

// Hosts contains the settings of a hosts.toml.
type Hosts struct {
	File string
	// Hosts are in the order in which containerd asks them. They do not include the server.
	Hosts []Host
	// Server is asked last. If its name is empty, the server is the registry itself.
	Server Host
}

// ReadHosts reads the hosts.toml below dir that containerd uses for a registry. If there is no such
// file, the error wraps [fs.ErrNotExist]. If the file is not valid TOML, so that containerd ignores
// it, the error is an [*AdviceError].
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

// AllHosts reads every hosts.toml below dir, and skips files that cannot be read.
func AllHosts(dir string) []*Hosts {
	files, _ := filepath.Glob(filepath.Join(dir, "*", hostsFile)) // this fails only if the pattern is malformed
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

// stringsOf returns the strings in a TOML value: a string, an array of strings, or an array of
// arrays of strings.
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

// hostNames returns the hosts that have a table, in table order. The text must be valid TOML.
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
