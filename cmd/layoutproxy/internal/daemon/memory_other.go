//go:build !linux

package daemon

import "runtime/debug"

// giveBack returns memory to the system.
func giveBack() { debug.FreeOSMemory() }
