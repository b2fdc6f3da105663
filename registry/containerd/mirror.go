package containerd

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
)

// MirrorOptions say what a mirror is.
type MirrorOptions struct {
	// Host is the registry that images are named by, as registry.example or
	// registry.example:5000; _default means each that has no file of its own.
	Host string
	// Endpoint is the URL of the mirror.
	Endpoint string
	// CA, ClientCert and ClientKey are PEM files, for https only. They become
	// absolute, as containerd would look for them beside hosts.toml.
	CA, ClientCert, ClientKey string
	// OverridePath says that the endpoint's path is the root of the API. It gets
	// /v2 at its end if it lacks it.
	OverridePath bool
	// NoFallback keeps containerd from asking the registry itself for what the
	// mirror lacks.
	NoFallback bool
}

// Mirror is a mirror of one registry.
type Mirror struct {
	options  MirrorOptions
	endpoint *url.URL
}

// NewMirror checks the options. Each error is one of usage.
func NewMirror(o MirrorOptions) (*Mirror, error) {
	if err := checkHost(o.Host); err != nil {
		return nil, err
	}
	endpoint, err := checkEndpoint(o.Endpoint, o.OverridePath)
	if err != nil {
		return nil, err
	}
	if o.ClientKey != "" && o.ClientCert == "" {
		return nil, fmt.Errorf("a client's key %s without its certificate", o.ClientKey)
	}
	if endpoint.Scheme == "http" && (o.CA != "" || o.ClientCert != "") {
		return nil, fmt.Errorf("endpoint %s: certificates are for https", endpoint)
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

// Endpoint is the URL as it stands in hosts.toml.
func (m *Mirror) Endpoint() string { return m.endpoint.String() }

// File is where the mirror's hosts.toml belongs below a certs.d directory that has none.
func (m *Mirror) File(dir string) string {
	return filepath.Join(dir, hostDirectory(m.options.Host), hostsFile)
}

// Text is a whole hosts.toml of this mirror alone. dir is the certs.d directory that
// its comments name.
func (m *Mirror) Text(dir string) string {
	return m.comment(dir, m.File(dir)) + m.top(true) + m.table()
}

// comment says what makes containerd read the file.
func (m *Mirror) comment(dir, file string) string {
	config := "config_path = " + quote(dir)
	return `# Images of ` + m.options.Host + ` are pulled through layoutproxy.
# This file is ` + file + `; it is read at each pull.
# containerd reads it at all if its own configuration says so; after a change there, restart it.
#   1.x (version = 2):  [plugins."io.containerd.grpc.v1.cri".registry]
#                         ` + config + `
#   2.x (version = 3):  [plugins."io.containerd.cri.v1.images".registry]
#                         ` + config + `
#                       [plugins."io.containerd.transfer.v1.local"]
#                         ` + config + `
#   2.x pulls through its transfer service, which takes one directory: of "a:b", as its
#   default is, it reads nothing. So name the directory, in both places.
# ctr reads no configuration: ctr images pull --hosts-dir ` + dir + ` IMAGE
`
}

// top is what must stand before any table. alone says that nothing else is in the file.
func (m *Mirror) top(alone bool) string {
	if m.options.NoFallback {
		// containerd 1.6 wants a table as well, so the mirror is named twice.
		return "# No other host: the mirror stands for the registry itself (--no-fallback).\n" +
			"server = " + quote(m.Endpoint()) + "\n" + m.settings("")
	}
	if server := serverOf(m.options.Host); alone && server != "" {
		return "server = " + quote(server) + "\n"
	}
	return ""
}

// table is the mirror's own table.
func (m *Mirror) table() string {
	return "\n[host." + quote(m.Endpoint()) + "]\n" + m.settings("  ")
}

// settings are what holds for the mirror, as a host or as the server.
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

// quote makes a basic string of TOML. Go's escapes are TOML's but for \a, \v and \x,
// which stand for control characters that are in no URL and hardly in a path.
func quote(s string) string {
	q := strconv.Quote(s)
	return strings.NewReplacer(`\\`, `\\`, `\a`, `\u0007`, `\v`, `\u000b`, `\x`, `\u00`).Replace(q)
}
