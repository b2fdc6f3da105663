package settings

import (
	"os"
	"path/filepath"
)

// CacheDir returns where the user's programs keep what they can make again, or empty.
func CacheDir() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "layoutproxy")
}

// StateDir returns the state directory of the XDG base directory specification.
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
