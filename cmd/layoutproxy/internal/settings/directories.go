package settings

import (
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
)

// AddCacheFlag adds --cache-dir for commands that only cache archive indexes.
func AddCacheFlag(f *pflag.FlagSet, dir *string) {
	f.StringVar(dir, "cache-dir", CacheDir(), "`directory` that keeps archive indexes; empty means nowhere")
}

// CacheDir returns layoutproxy's directory in the user's cache directory, or empty without one.
func CacheDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "layoutproxy")
}

// StateDir returns layoutproxy's directory in the state directory of the XDG base directory
// specification, or empty without a home directory.
func StateDir() string {
	dir := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(dir) {
		home, err := os.UserHomeDir()
		if err != nil {
			return ""
		}
		dir = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(dir, "layoutproxy")
}
