package containerd

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
)

// MirrorOptions describe a mirror.
type MirrorOptions struct {
	// Host is the registry in image names, such as registry.example or
	// registry.example:5000; _default means every registry without its own file.
	Host string
	// Endpoint is the URL of the mirror.
	Endpoint string
	// CA, ClientCert and ClientKey are PEM files, for https only. Their paths are made
	// absolute, because containerd resolves relative ones against the directory of hosts.toml.
	CA, ClientCert, ClientKey string
	// OverridePath means that the endpoint's path is the base path of the API. /v2 is appended if
	// it is missing.
	OverridePath bool
	// NoFallback prevents containerd from asking the registry itself for content that the
	// mirror does not have.
	NoFallback bool
}

// Mirror is a mirror of one registry.
type Mirror struct {
	options  MirrorOptions
	endpoint *url.URL
}

// NewMirror checks the options. Each error is a usage error.
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

// Endpoint returns the URL as written in hosts.toml.
func (m *Mirror) Endpoint() string { return m.endpoint.String() }

// File returns the path of the mirror's hosts.toml below a certs.d directory that has none.
func (m *Mirror) File(dir string) string {
	return filepath.Join(dir, hostDirectory(m.options.Host), hostsFile)
}

// Text returns a complete hosts.toml with only this mirror. Its comments name dir as the
// certs.d directory.
func (m *Mirror) Text(dir string) string {
	return m.comment(dir, m.File(dir)) + m.top(true) + m.table()
}

// comment explains which setting makes containerd read the file.
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

// top returns the top-level keys, which must precede all tables. alone means that the file has
// no other content.
func (m *Mirror) top(alone bool) string {
	if m.options.NoFallback {
		// containerd 1.6 requires a table as well, so the mirror is named twice.
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

// settings returns the settings of the mirror, as a host or as the server.
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

// quote returns s as a basic string of TOML. Go's escapes are the same, except \a, \v and \x
// for control characters, which are replaced.
func quote(s string) string {
	q := strconv.Quote(s)
	return strings.NewReplacer(`\\`, `\\`, `\a`, `\u0007`, `\v`, `\u000b`, `\x`, `\u00`).Replace(q)
}
