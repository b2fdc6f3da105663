package containerd

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Node is a containerd process on this machine, together with its configuration.
type Node struct {
	PID int
	// Major is 1 or 2; 0 if neither the binary nor the configuration shows the version.
	Major int
	// Started is the start time. It may be up to two seconds too early.
	Started time.Time
	// Config is nil if the configuration cannot be read.
	Config *Config
	// Err is the reason why Config is nil.
	Err error
}

// String describes the process, but not its configuration.
func (n Node) String() string {
	if n.Major == 0 {
		return fmt.Sprintf("containerd (process %d)", n.PID)
	}
	return fmt.Sprintf("containerd %d.x (process %d)", n.Major, n.PID)
}

// Dirs returns the directories in which this containerd looks for hosts.toml when the kubelet
// pulls. It returns nothing if the configuration is unknown, or if the CRI plugin is disabled.
func (n Node) Dirs() []string {
	if n.Config == nil || n.Config.CRIDisabled {
		return nil
	}
	return n.Config.dirs(n.Major)
}

// CertsDirs returns the sorted [Node.Dirs] of all nodes, without duplicates.
func CertsDirs(nodes []Node) []string {
	var dirs []string
	for _, n := range nodes {
		dirs = append(dirs, n.Dirs()...)
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// ReadDir returns a directory that all containerds of a machine read. It ignores containerds that
// read no hosts.toml. why explains the choice of the directory, such as "containerd 1.x (process 7)
// reads /etc/containerd/certs.d". If there is no such directory, or if it cannot be determined, the
// error is an [*AdviceError].
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
			why += fmt.Sprintf("; its transfer service reads only a single directory: set config_path to %s in %s", dirs[0], n.Config.File)
		}
	}
	if dir == "" {
		return "", "", advise("set config_path to "+DefaultDir+" below [plugins.*.registry], and restart containerd", "%s", none)
	}
	return dir, why, nil
}
