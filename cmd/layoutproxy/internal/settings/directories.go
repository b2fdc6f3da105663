package settings

import (
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
)

// AddCacheFlag adds --cache-dir to commands that cache only archive indexes.
func AddCacheFlag(f *pflag.FlagSet, dir *string) {
	f.StringVar(dir, "cache-dir", CacheDir(), "`directory` where archive indexes are cached; empty means no cache")
}

// CacheDir returns layoutproxy's directory in the cache directory of the user, or "" if the user
// has none.
func CacheDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "layoutproxy")
}

// StateDir returns layoutproxy's directory in the user's state directory (XDG Base Directory
// Specification). It returns "" if the user has no home directory.
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
