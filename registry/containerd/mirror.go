package containerd

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
)

// MirrorOptions describes a mirror of a registry.
type MirrorOptions struct {
	// Host is the registry as written in image names, such as registry.example or
	// registry.example:5000. _default stands for all registries without their own directory.
	Host     string
	Endpoint string
	// CA, ClientCert and ClientKey are PEM files, which need an https endpoint. NewMirror makes their
	// paths absolute, because containerd resolves relative paths from the directory of hosts.toml.
	CA, ClientCert, ClientKey string
	// OverridePath means that the path of Endpoint is the base path of the API. If the path does
	// not end in /v2, NewMirror appends it.
	OverridePath bool
	// NoFallback keeps containerd from asking the registry itself for content that the mirror
	// does not have.
	NoFallback bool
}

// Mirror is a mirror of one registry.
type Mirror struct {
	options  MirrorOptions
	endpoint *url.URL
}

// NewMirror checks the options, and returns an error if the user chose them wrongly.
func NewMirror(o MirrorOptions) (*Mirror, error) {
	if err := checkHost(o.Host); err != nil {
		return nil, err
	}
	endpoint, err := checkEndpoint(o.Endpoint, o.OverridePath)
	if err != nil {
		return nil, err
	}
	if o.ClientKey != "" && o.ClientCert == "" {
		return nil, fmt.Errorf("client key %s without its certificate", o.ClientKey)
	}
	if endpoint.Scheme == "http" && (o.CA != "" || o.ClientCert != "") {
		return nil, fmt.Errorf("endpoint %s: certificates need an https endpoint", endpoint)
	}
	for _, file := range []*string{&o.CA, &o.ClientCert, &o.ClientKey} {
		if *file == "" {
			continue
		}
		if *file, err = filepath.Abs(*file); err != nil {
			return nil, err
		}
	}
	return &Mirror{o, endpoint}, nil
}

// Endpoint returns the mirror's URL as written in hosts.toml.
func (m *Mirror) Endpoint() string { return m.endpoint.String() }

// File returns the path where the mirror's hosts.toml is created if the certs.d directory dir does
// not contain a directory for the registry yet.
func (m *Mirror) File(dir string) string {
	return filepath.Join(dir, hostDirectory(m.options.Host), hostsFile)
}

// Text returns a complete hosts.toml that contains only this mirror. Its comments contain dir as
// the path of the certs.d directory.
func (m *Mirror) Text(dir string) string {
	return m.comment(dir, m.File(dir)) + m.top(true) + m.table()
}

// comment explains which settings make containerd read the file.
func (m *Mirror) comment(dir, file string) string {
	config := "config_path = " + quote(dir)
	return `# Images of ` + m.options.Host + ` are pulled through layoutproxy.
# containerd reads this file, ` + file + `, at each pull,
# if its own configuration has these settings; restart containerd after changing them:
#   1.x (version = 2):  [plugins."io.containerd.grpc.v1.cri".registry]
#                         ` + config + `
#   2.x (version = 3):  [plugins."io.containerd.cri.v1.images".registry]
#                         ` + config + `
#                       [plugins."io.containerd.transfer.v1.local"]
#                         ` + config + `
#   2.x pulls through its transfer service, which reads nothing if config_path is a list of
#   directories, as by default. So name this one directory in both places.
# ctr does not read the configuration: ctr images pull --hosts-dir ` + dir + ` IMAGE
`
}

// top returns the top-level keys of a section, which must precede all tables. alone means that
// the file has no other settings.
func (m *Mirror) top(alone bool) string {
	if m.options.NoFallback {
		// containerd 1.6 ignores a file without tables, so the mirror is both the server and a host.
		return "# No other host: the mirror replaces the registry itself (--no-fallback).\n" +
			"server = " + quote(m.Endpoint()) + "\n" + m.settings("")
	}
	if server := serverOf(m.options.Host); alone && server != "" {
		return "server = " + quote(server) + "\n"
	}
	return ""
}

func (m *Mirror) table() string {
	return "\n[host." + quote(m.Endpoint()) + "]\n" + m.settings("  ")
}

// settings returns the settings of the mirror, for a host table or for the server.
func (m *Mirror) settings(indent string) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, indent+format+"\n", args...) }
	line(`capabilities = ["pull", "resolve"]`)
	if m.options.CA != "" {
		line("ca = %s", quote(m.options.CA))
	}
	switch cert, key := m.options.ClientCert, m.options.ClientKey; {
	case key != "":
		line("client = [[%s, %s]]", quote(cert), quote(key))
	case cert != "":
		line("client = %s", quote(cert))
	}
	if m.options.OverridePath {
		line("override_path = true")
	}
	return b.String()
}

// quote returns s as a basic string of TOML. Go quotes strings in the same way, except for
// control characters: quote replaces Go's \a, \v and \x.
func quote(s string) string {
	q := strconv.Quote(s)
	return strings.NewReplacer(`\\`, `\\`, `\a`, `\u0007`, `\v`, `\u000b`, `\x`, `\u00`).Replace(q)
}
