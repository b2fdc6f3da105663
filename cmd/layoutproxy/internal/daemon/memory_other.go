//go:build !linux

package daemon

import "runtime/debug"

// giveBack returns freed heap memory to the system.
func giveBack() { debug.FreeOSMemory() }
