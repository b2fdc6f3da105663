//go:build !linux

package daemon

// freeSpace returns nothing: only Linux can write a store.
func freeSpace([]string) []diskStatus { return nil }
