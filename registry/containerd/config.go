package containerd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
)

// Config is the part of a containerd configuration that determines how hosts.toml is used.
type Config struct {
	File string
	// Version is the version of the configuration format, or 0 if there is no file. Only
	// containerd 2.x reads version 3.
	Version int
	// CRIPath is config_path in the registry section of the CRI plugin, where colons separate
	// several directories. TransferPath is config_path of the transfer plugin of containerd 2.x.
	CRIPath, TransferPath string
	// Mirrors is true if the deprecated registry.mirrors is set, which disables hosts.toml.
	Mirrors bool
	// LocalPull is true if the CRI plugin of containerd 2.x pulls images itself, without the
	// transfer service.
	LocalPull bool
	// CRIDisabled is true if the CRI plugin is disabled, so that no kubelet pulls through this
	// containerd. The containerd that Docker installs is configured like this.
	CRIDisabled bool
	// Changed is the latest modification time of the file and of the files that it imports.
	Changed time.Time
}

// These are the plugins of containerd whose settings layoutproxy reads.
const (
	// CRIPlugin is the CRI plugin of containerd 1.x. 2.x still reads its settings.
	CRIPlugin = "io.containerd.grpc.v1.cri"
	// ImagesPlugin is the CRI plugin for images of containerd 2.x.
	ImagesPlugin = "io.containerd.cri.v1.images"
	// TransferPlugin is the transfer service of containerd 2.x.
	TransferPlugin = "io.containerd.transfer.v1.local"
	// defaultPath is the default config_path of containerd 2.x.
	defaultPath = DefaultDir + ":/etc/docker/certs.d"
)

// readConfig reads a configuration and the files that it imports. If the file is missing, the
// configuration is empty, as for containerd. For invalid TOML, the error is an [*AdviceError].
// Other errors come from the file system, or from a malformed pattern of imports.
func readConfig(file string) (*Config, error) {
	c := &Config{File: file}
	imports, err := c.read(file)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	for _, pattern := range imports {
		if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(filepath.Dir(file), pattern)
		}
		files, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("%s: imports %q: %w", file, pattern, err)
		}
		for _, imported := range files {
			// Imports in imported files are not followed, because nobody nests them.
			if _, err := c.read(imported); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

// read adds the settings of one file. It returns the patterns for the files that it imports.
func (c *Config) read(file string) (imports []string, err error) {
	text, err := plainfile.Read(file, maxFile)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.ModTime().After(c.Changed) {
		c.Changed = info.ModTime()
	}
	keys, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if version, ok := keys["version"].(int64); ok {
		c.Version = int(version)
	}
	for _, name := range stringsOf(keys["disabled_plugins"]) {
		if name == "cri" || name == CRIPlugin || name == ImagesPlugin {
			c.CRIDisabled = true
		}
	}
	plugins := table(keys, "plugins")
	c.readPlugin(table(plugins, CRIPlugin))
	c.readPlugin(table(plugins, ImagesPlugin))
	set(&c.TransferPath, table(plugins, TransferPlugin), "config_path")
	return stringsOf(keys["imports"]), nil
}

func (c *Config) readPlugin(plugin map[string]any) {
	registry := table(plugin, "registry")
	set(&c.CRIPath, registry, "config_path")
	set(&c.LocalPull, plugin, "use_local_image_pull")
	if len(table(registry, "mirrors")) > 0 {
		c.Mirrors = true
	}
}

func set[T any](to *T, keys map[string]any, key string) {
	if v, ok := keys[key].(T); ok {
		*to = v
	}
}

func table(keys map[string]any, key string) map[string]any {
	t, _ := keys[key].(map[string]any)
	return t
}

// dirs returns the directories in which containerd looks for hosts.toml when the kubelet pulls.
// major is containerd's major version. The transfer service of 2.x does not split a list of
// directories, so it finds no hosts.toml if there are several; see LocalPull.
func (c *Config) dirs(major int) []string {
	path := c.CRIPath
	if path == "" && major >= 2 && !c.Mirrors {
		path = defaultPath
	}
	return filepath.SplitList(path)
}
