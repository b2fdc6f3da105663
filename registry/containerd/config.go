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

// Config is what a containerd's configuration says about hosts.toml.
type Config struct {
	File string
	// Version is that of the format: 2 is read by 1.x and 2.x, 3 by 2.x alone. It is 0
	// where there is no file.
	Version int
	// CRIPath is the config_path of the CRI plugin's registry; several directories are
	// separated by colons. TransferPath is that of the transfer plugin of 2.x.
	CRIPath, TransferPath string
	// Mirrors says that the registry.mirrors of old are set, which exclude hosts.toml.
	Mirrors bool
	// LocalPull says that the CRI plugin of 2.x pulls without the transfer service.
	LocalPull bool
	// CRIDisabled says that there is no CRI plugin, as Docker sets its own containerd up:
	// no kubelet pulls by it.
	CRIDisabled bool
	// Changed is when the newest of its files was.
	Changed time.Time
}

// Where the settings stand, by the name of the plugin.
const (
	CRIPlugin      = "io.containerd.grpc.v1.cri"         // 1.x, and still read by 2.x
	ImagesPlugin   = "io.containerd.cri.v1.images"       // 2.x
	TransferPlugin = "io.containerd.transfer.v1.local"   // 2.x
	defaultPath    = DefaultDir + ":/etc/docker/certs.d" // of 2.x, where no path is given
)

// ReadConfig reads a configuration with what it imports. A missing file is an empty
// configuration, as it is to containerd. The errors are those of the file system, and
// [*AdviceError] for no TOML.
func ReadConfig(file string) (*Config, error) {
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
			// What an import imports is not followed: nobody nests them.
			if _, err := c.read(imported); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

// read takes over what one file says, and returns what it imports.
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
	c.take(table(plugins, CRIPlugin))
	c.take(table(plugins, ImagesPlugin))
	set(&c.TransferPath, table(plugins, TransferPlugin), "config_path")
	return stringsOf(keys["imports"]), nil
}

// take takes over the settings of a plugin that has a registry.
func (c *Config) take(plugin map[string]any) {
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

// Dirs are the directories in which a containerd of a major version looks for
// hosts.toml when the kubelet pulls. None means that it does not look. The transfer
// service of 2.x takes more than one for the name of a single one; see LocalPull.
func (c *Config) Dirs(major int) []string {
	path := c.CRIPath
	if path == "" && major >= 2 && !c.Mirrors {
		path = defaultPath
	}
	return filepath.SplitList(path)
}
