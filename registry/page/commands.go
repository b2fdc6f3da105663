package page

type command struct {
	Tool string
	Text string
	Note string // explains the command; may be empty
}

// commandsFor returns the commands that pull the image of a page. Names, tags and digests match
// the grammar of the distribution specification, so they need no quoting in a shell. runnable
// means that container engines accept the image.
func commandsFor(page *imagePage, runnable bool) (all []command) {
	reference := ":" + page.Tag
	if page.Tag == "" {
		reference = "@" + string(page.Digest)
	}
	name, node := page.Repository.Name()+reference, page.Node
	here, upstream := node.Address+"/"+name, node.Upstream+"/"+name
	insecure, skopeo := "", ""
	if !node.TLS {
		skopeo = " --src-tls-verify=false"
		if !node.Loopback { // crane uses plain HTTP for loopback addresses by default
			insecure = " --insecure"
		}
	}
	login := func(command string) string {
		if node.Login {
			return "Log in first: " + command + " " + node.Address
		}
		return ""
	}
	if runnable {
		plain := ""
		if !node.TLS {
			plain = " --plain-http"
		}
		all = append(all,
			command{"containerd: crictl", "crictl pull " + upstream, "Uses the hosts.toml of this server."},
			command{"containerd: ctr", "ctr --namespace k8s.io images pull --hosts-dir /etc/containerd/certs.d " + upstream, "Uses the same hosts.toml."},
			command{"containerd: ctr, directly", "ctr --namespace k8s.io images pull" + plain + " " + here, ""})
	}
	all = append(all,
		command{"crane", "crane pull" + insecure + " " + here + " image.tar", login("crane auth login")},
		command{"skopeo", "skopeo copy" + skopeo + " docker://" + here + " dir:image", login("skopeo login")})
	if runnable {
		note := login("docker login")
		if !node.TLS && !node.Loopback {
			note = `Needs "insecure-registries": ["` + node.Address + `"] in /etc/docker/daemon.json, because the registry has no TLS.`
		}
		all = append(all, command{"docker", "docker pull " + here, note})
	}
	return all
}
