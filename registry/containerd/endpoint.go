package containerd

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path"
	"strings"
)

// Endpoint returns the URL that containerd requests for an entry of hosts.toml. name is the key
// of a host table, or the value of `server`. The URL consists of scheme, host and the path of the
// API. Two entries with the same Endpoint are the same mirror, even if their names differ.
func Endpoint(name string, overridePath bool) (string, error) {
	if !strings.HasPrefix(name, "http") { // containerd also adds https:// to such a name
		name = "https://" + name
	}
	u, err := url.Parse(name)
	if err != nil {
		return "", err
	}
	host := strings.ToLower(u.Host)
	if _, port, err := net.SplitHostPort(host); err == nil && port == defaultPorts[u.Scheme] {
		host = strings.TrimSuffix(host, ":"+port)
	}
	api := ""
	if u.Path != "" {
		api = path.Clean(u.Path)
	}
	if !overridePath && !strings.HasSuffix(api, "/v2") {
		api = strings.TrimSuffix(api, "/") + "/v2"
	}
	return u.Scheme + "://" + host + api, nil
}

var defaultPorts = map[string]string{"http": "80", "https": "443"}

func checkEndpoint(endpoint string, overridePath bool) (*url.URL, error) {
	u, err := url.Parse(endpoint)
	switch {
	case !strings.Contains(endpoint, "://"):
		return nil, advise("prefix it with http://, or https:// if it has TLS: http://"+endpoint, "endpoint %q: not of the form http://HOST:PORT or https://HOST:PORT", endpoint)
	case err != nil:
		return nil, fmt.Errorf("endpoint %q: %w", endpoint, err)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, fmt.Errorf("endpoint %q: not of the form http://HOST:PORT or https://HOST:PORT", endpoint)
	case u.User != nil:
		return nil, fmt.Errorf("endpoint %q: containerd does not read user and password from hosts.toml", u.Redacted())
	case u.RawQuery != "" || u.Fragment != "":
		return nil, fmt.Errorf("endpoint %q: a query or fragment is not allowed here", endpoint)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	if overridePath && !strings.HasSuffix(u.Path, "/v2") {
		// With override_path, containerd appends the repository directly to this path. A registry
		// answers only below /v2/, so the path must end in /v2.
		u.Path += "/v2"
	}
	u.RawPath = ""
	return u, nil
}

// checkHost returns an error if host is not the name of a registry. containerd looks for a
// directory with exactly this name.
func checkHost(host string) error {
	switch {
	case host == "":
		return errors.New("the name of a registry is empty")
	case host == defaultHost:
		return nil
	case strings.ContainsRune(host, '*'):
		return fmt.Errorf("registry %q: containerd has no patterns; use %s for every registry without its own directory", host, defaultHost)
	case strings.Contains(host, "://"):
		return fmt.Errorf("registry %q: omit the scheme, as in an image name", host)
	case strings.ContainsRune(host, '/'):
		return fmt.Errorf("registry %q: omit the repository: %s", host, host[:strings.IndexByte(host, '/')])
	}
	u, err := url.Parse("https://" + host)
	if err != nil || u.Host != host || u.Hostname() == "" || strings.HasPrefix(host, ".") {
		return fmt.Errorf("registry %q: not of the form HOST or HOST:PORT", host)
	}
	return nil
}

// defaultHost is the directory that containerd uses for registries without their own directory.
const defaultHost = "_default"

// serverOf returns the URL that containerd uses for a registry without a hosts.toml. It returns
// "" if that URL does not depend on the name alone.
func serverOf(host string) string {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	switch ip := net.ParseIP(strings.Trim(name, "[]")); {
	case host == defaultHost, name == "localhost", ip != nil && ip.IsLoopback():
		return ""
	case host == "docker.io":
		return "https://registry-1.docker.io"
	}
	return "https://" + host
}
