//go:build !linux

package pulltest

func memory() (string, bool) { return "", false }
