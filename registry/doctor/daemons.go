package doctor

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/layoutproxy/layoutproxy/registry/containerd"
)

// examineDaemons checks whether the containerds of this machine read the hosts.toml that an
// earlier step found.
func (d *doctor) examineDaemons(context.Context) Step {
	nodes, err := containerd.Nodes(d.Proc)
	switch {
	case err != nil:
		return warning("run as root to check it", "a containerd runs on this machine, but cannot be inspected: %v", err)
	case len(nodes) == 0:
		return skipped("no containerd runs on this machine")
	case d.hosts == "":
		return skipped("%v runs on this machine, but no hosts.toml points to %s", nodes[0], d.url)
	}
	var worst Step
	for _, node := range nodes {
		if s := d.examine(node); rank(s.State) > rank(worst.State) {
			worst = s
		}
	}
	return worst
}

// rank orders the states of steps from good to bad. It returns -1 for an empty state.
func rank(s State) int { return slices.Index([]State{Skipped, OK, Warning, Failed}, s) }

// startedWithin is how precisely the start time of a process is known.
const startedWithin = 2 * time.Second

func (d *doctor) examine(node containerd.Node) Step {
	who, config := node.String(), node.Config
	if node.Err != nil {
		return failed(adviceOf(node.Err, "run as root to check it"), "%s: %v", who, node.Err)
	}
	dir := filepath.Dir(filepath.Dir(d.hosts))
	plugin := containerd.CRIPlugin
	if node.Major >= 2 {
		plugin = containerd.ImagesPlugin
	}
	advice := fmt.Sprintf("in %s, below [plugins.%q.registry], set config_path = %q, and restart containerd", config.File, plugin, dir)
	dirs := node.Dirs()
	switch {
	case config.CRIDisabled:
		return skipped("%s runs without the CRI plugin: no kubelet pulls through it", who)
	case config.Mirrors:
		return failed("remove [registry.mirrors] from "+config.File+": containerd does not allow both. "+advice,
			"%s: registry.mirrors is set, so hosts.toml is ignored when the kubelet pulls", who)
	case len(dirs) == 0:
		return failed(advice, "%s: config_path is not set, so hosts.toml is ignored when the kubelet pulls", who)
	case !slices.ContainsFunc(dirs, func(p string) bool { return samePath(p, dir) }):
		return failed(advice, "%s reads hosts.toml below %s, but not below %s", who, strings.Join(dirs, ", "), dir)
	case config.Changed.After(node.Started.Add(startedWithin)):
		return warning("restart containerd", "%s was started before %s was changed", who, config.File)
	case node.Major >= 2:
		return d.examineTransfer(config, who, dir, dirs, advice)
	}
	return ok("%s reads %s", who, dir)
}

// examineTransfer checks the settings of the transfer service, through which containerd 2.x pulls.
func (d *doctor) examineTransfer(config *containerd.Config, who, dir string, dirs []string, advice string) Step {
	switch {
	case len(dirs) > 1 && !config.LocalPull:
		return warning(advice, "the config_path of %s is %s, but its transfer service reads only a single directory", who, strings.Join(dirs, ":"))
	case !samePath(config.TransferPath, dir):
		return warning(fmt.Sprintf("in %s, below [plugins.%q], set config_path = %q, and restart containerd", config.File, containerd.TransferPlugin, dir),
			"%s reads %s for the kubelet, but its transfer plugin has config_path = %q", who, dir, config.TransferPath)
	}
	return ok("%s reads %s, and so does its transfer plugin", who, dir)
}

func samePath(a, b string) bool { return a != "" && filepath.Clean(a) == filepath.Clean(b) }
