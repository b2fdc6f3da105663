package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/plainfile"
	"github.com/layoutproxy/layoutproxy/registry/containerd"
)

// maxFile limits the size, in bytes, of a file that a hosts.toml names.
const maxFile = 16 << 20

// certsDirs returns the directories to search for hosts.toml files. These are the given
// directory, or those of the containerds on this machine, or the default.
func (d *doctor) certsDirs() []string {
	if d.HostsDir != "" {
		return []string{d.HostsDir}
	}
	nodes, _ := containerd.Nodes(d.Proc) // the step about containerd reports the error
	if dirs := containerd.CertsDirs(nodes); len(dirs) > 0 {
		return dirs
	}
	return []string{containerd.DefaultDir}
}

// readHosts checks whether this node's hosts.toml points to the registry.
func (d *doctor) readHosts(context.Context) Step {
	own, err := containerd.Endpoint(d.url.String(), false)
	if err != nil {
		return failed("", "%v", err)
	}
	dirs := d.certsDirs()
	if !slices.ContainsFunc(dirs, exists) {
		return skipped("%s does not exist on this machine; to check another directory, use --hosts-dir", strings.Join(dirs, ", "))
	}
	if d.image.host == "" {
		return d.findHosts(dirs, own)
	}
	advice := fmt.Sprintf("layoutproxy mirror-config %s --endpoint %s --write %s", d.image.host, d.url, dirs[0])
	for _, dir := range dirs {
		h, err := containerd.ReadHosts(dir, d.image.host)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return failed(adviceOf(err, "let root read that file"), "%v", err)
		}
		return d.checkHosts(h, own, advice)
	}
	return failed(advice, "no hosts.toml for %s below %s: containerd pulls from the registry itself", d.image.host, strings.Join(dirs, ", "))
}

// findHosts searches all hosts.toml files for those that point to the registry.
func (d *doctor) findHosts(dirs []string, own string) Step {
	var files []string
	for _, dir := range dirs {
		for _, h := range containerd.AllHosts(dir) {
			if slices.ContainsFunc(append(h.Hosts, h.Server), func(host containerd.Host) bool { return host.Endpoint == own }) {
				files = append(files, h.File)
				if step := d.checkHosts(h, own, ""); step.State != OK {
					return step
				}
			}
		}
	}
	if len(files) == 0 {
		return skipped("no hosts.toml below %s points to %s; create one with layoutproxy mirror-config", strings.Join(dirs, ", "), d.url)
	}
	d.hosts = files[0]
	return ok("%s points here", strings.Join(files, ", "))
}

// checkHosts checks a hosts.toml that containerd reads. own is the [containerd.Endpoint] of the
// checked registry.
func (d *doctor) checkHosts(h *containerd.Hosts, own, advice string) Step {
	d.hosts = h.File
	at := slices.IndexFunc(h.Hosts, func(host containerd.Host) bool { return host.Endpoint == own })
	host, place := h.Server, "as the registry itself"
	if at >= 0 {
		host, place = h.Hosts[at], "first"
	} else if h.Server.Endpoint != own {
		return failed(advice, "%s points to %s, not to %s", h.File, namesOfHosts(h), d.url)
	}
	for _, file := range host.Files {
		if _, err := plainfile.Read(file, maxFile); err != nil {
			return failed("create that file or make it readable: until then, containerd cannot pull with this hosts.toml", "%s: certificate: %v", h.File, err)
		}
	}
	switch {
	case !host.Can("pull"):
		return failed("add \"pull\" to its capabilities", "%s does not allow pulling from %s", h.File, host.Name)
	case !host.Can("resolve"):
		return warning("add \"resolve\" to its capabilities, so that tags come from the bundle", "%s does not allow resolving tags at %s", h.File, host.Name)
	case at > 0:
		return warning("to make containerd ask the bundle first, add the mirror with mirror-config, or move its [host] table up", "%s asks %s before %s", h.File, h.Hosts[0].Name, host.Name)
	}
	return ok("%s points here %s%s", h.File, place, afterwards(h, own))
}

// afterwards describes which host containerd asks next if this registry does not have the content.
func afterwards(h *containerd.Hosts, own string) string {
	switch {
	case h.Server.Endpoint == own:
		return ", and nowhere else"
	case h.Server.Name != "":
		return ", then to " + h.Server.Name
	}
	return ", then to the registry itself"
}

// namesOfHosts returns the names of all hosts in a hosts.toml, separated by commas.
func namesOfHosts(h *containerd.Hosts) string {
	var names []string
	for _, host := range append(h.Hosts, h.Server) {
		if host.Name != "" {
			names = append(names, host.Name)
		}
	}
	if len(names) == 0 {
		return "the registry itself"
	}
	return strings.Join(names, ", ")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// adviceOf returns the advice in err. If err contains none, it returns its second argument.
func adviceOf(err error, otherwise string) string {
	var advice *containerd.AdviceError
	if errors.As(err, &advice) {
		return advice.Advice
	}
	return otherwise
}
