//go:build !linux

package extent

import "os"

// Only Linux reports which pages of a file are cached.

func isCold(*os.File, window) bool { return false }

func dropCached(*os.File, window) {}
