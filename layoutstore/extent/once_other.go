//go:build !linux

package extent

import "os"

// Only Linux can tell what is in the page cache.

func isCold(*os.File, window) bool { return false }

func dropCached(*os.File, window) {}
