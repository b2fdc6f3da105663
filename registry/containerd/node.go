package containerd

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Node is a containerd process on this machine, and its configuration.
type Node struct {
	PID     int
	Major   int       // 1 or 2; 0 if neither the binary nor the configuration shows it
	Started time.Time // the start time, at most two seconds too early
	Config  *Config   // nil if it cannot be read
	Err     error     // why Config is nil
}

// String describes the process, without its configuration.
func (n Node) String() string {
	if n.Major == 0 {
		return fmt.Sprintf("containerd (process %d)", n.PID)
	}
	return fmt.Sprintf("containerd %d.x (process %d)", n.Major, n.PID)
}

// Dirs returns the directories in which the containerd looks for hosts.toml when the kubelet
// pulls, or nothing if its configuration is unknown or it has no CRI plugin.
func (n Node) Dirs() []string {
	if n.Config == nil || n.Config.CRIDisabled {
		return nil
	}
	return n.Config.dirs(n.Major)
}

// CertsDirs returns the [Node.Dirs] of all nodes without duplicates, sorted.
func CertsDirs(nodes []Node) []string {
	var dirs []string
	for _, n := range nodes {
		dirs = append(dirs, n.Dirs()...)
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// ReadDir returns a directory that all containerds of a machine read, except those that read no
// hosts.toml. It also returns the reason, such as "containerd 1.x (process 7) reads
// /etc/containerd/certs.d". The error is an [*AdviceError] if there is no such directory, or if it
// is unknown.
func ReadDir(nodes []Node) (dir, why string, err error) {
	const name = "name the directory with --write DIR"
	if len(nodes) == 0 {
		return "", "", advise(name+", such as "+DefaultDir, "no containerd runs on this machine")
	}
	none := ""
	for _, n := range nodes {
		dirs := n.Dirs()
		switch {
		case n.Err != nil:
			return "", "", advise("run as root, or "+name, "%v: its configuration cannot be read: %w", n, n.Err)
		case n.Config.CRIDisabled:
			none = fmt.Sprintf("%v runs without the CRI plugin, so no kubelet pulls through it", n)
			continue
		case n.Config.Mirrors:
			return "", "", advise("remove registry.mirrors, set config_path below [plugins.*.registry], and restart containerd", "%v ignores hosts.toml: %s sets registry.mirrors", n, n.Config.File)
		case len(dirs) == 0:
			none = fmt.Sprintf("%v reads no hosts.toml for the kubelet: %s sets no config_path", n, n.Config.File)
			continue
		case dir != "" && !slices.Contains(dirs, dir):
			return "", "", advise(name, "%s, and %v reads %s", why, n, strings.Join(dirs, ", "))
		case dir != "":
			continue
		}
		dir, why = dirs[0], fmt.Sprintf("%v reads %s", n, dirs[0])
		if len(dirs) > 1 && n.Major >= 2 && !n.Config.LocalPull {
			why += fmt.Sprintf("; its transfer service reads a single directory: set config_path to that in %s", n.Config.File)
		}
	}
	if dir == "" {
		return "", "", advise("set config_path to "+DefaultDir+" below [plugins.*.registry], and restart containerd", "%s", none)
	}
	return dir, why, nil
}
