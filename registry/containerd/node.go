package containerd

import (
	"fmt"
	"slices"
	"strings"
)

// Node is a containerd that runs on this machine, and what its configuration says.
type Node struct {
	Daemon
	// Config is nil if it cannot be read, for the reason Err.
	Config *Config
	Err    error
}

// Nodes finds the containerds of this machine in proc, the directory /proc, and reads their
// configurations. Errors: those of [Daemons], beside the ones that were found.
func Nodes(proc string) ([]Node, error) {
	daemons, err := Daemons(proc)
	var nodes []Node
	for _, d := range daemons {
		n := Node{Daemon: d}
		n.Config, n.Err = ReadConfig(d.Config)
		if n.Err == nil && n.Major == 0 && n.Config.Version >= 3 {
			n.Major = 2
		}
		nodes = append(nodes, n)
	}
	return nodes, err
}

// String describes the process, without its configuration.
func (n Node) String() string {
	if n.Major == 0 {
		return fmt.Sprintf("containerd (process %d)", n.PID)
	}
	return fmt.Sprintf("containerd %d.x (process %d)", n.Major, n.PID)
}

// Dirs returns the directories in which it looks for hosts.toml when the kubelet pulls: those
// of [Config.Dirs], or nothing if its configuration is unknown or it has no CRI plugin.
func (n Node) Dirs() []string {
	if n.Config == nil || n.Config.CRIDisabled {
		return nil
	}
	return n.Config.Dirs(n.Major)
}

// CertsDirs returns the directories that any of the nodes reads, each once.
func CertsDirs(nodes []Node) []string {
	var dirs []string
	for _, n := range nodes {
		dirs = append(dirs, n.Dirs()...)
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// ReadDir chooses the one directory to write a hosts.toml to, so that the containerds of a
// machine read it, and says why, as "containerd 1.x (process 7) reads it". The error is an
// [*AdviceError] if no directory or more than one can be chosen.
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
