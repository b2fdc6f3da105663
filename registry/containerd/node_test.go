package containerd_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/registry/containerd"
)

// ReadDir chooses a directory that is read by all those containerds of the machine that read any
// hosts.toml. If there is no such directory, or if ReadDir cannot determine it, it returns an
// error.
func TestReadDir(t *testing.T) {
	node := func(major int, c containerd.Config) containerd.Node {
		c.File = "/etc/containerd/config.toml"
		return containerd.Node{PID: 7, Major: major, Config: &c}
	}
	certs := node(1, containerd.Config{CRIPath: "/etc/containerd/certs.d"})
	docker := node(1, containerd.Config{CRIDisabled: true})
	for name, test := range map[string]struct {
		nodes []containerd.Node
		dir   string
		says  string // part of the reason, or of the error and its advice
	}{
		"1.x":                            {[]containerd.Node{certs}, "/etc/containerd/certs.d", "containerd 1.x (process 7) reads /etc/containerd/certs.d"},
		"Deckhouse":                      {[]containerd.Node{node(1, containerd.Config{CRIPath: "/etc/containerd/registry.d"})}, "/etc/containerd/registry.d", "reads /etc/containerd/registry.d"},
		"2.x, default list":              {[]containerd.Node{node(2, containerd.Config{})}, "/etc/containerd/certs.d", "single directory: set config_path to /etc/containerd/certs.d in /etc/containerd/config.toml"},
		"2.x, one":                       {[]containerd.Node{node(2, containerd.Config{CRIPath: "/a"})}, "/a", "containerd 2.x (process 7) reads /a"},
		"beside Docker's":                {[]containerd.Node{docker, certs}, "/etc/containerd/certs.d", "containerd 1.x"},
		"two with a common directory":    {[]containerd.Node{certs, node(2, containerd.Config{})}, "/etc/containerd/certs.d", "containerd 1.x"},
		"two without a common directory": {[]containerd.Node{certs, node(2, containerd.Config{CRIPath: "/a"})}, "", "reads /a; name the directory"},
		"none":                           {nil, "", "no containerd runs on this machine; name the directory"},
		"Docker's containerd":            {[]containerd.Node{docker}, "", "without the CRI plugin"},
		"unset":                          {[]containerd.Node{node(1, containerd.Config{})}, "", "/etc/containerd/config.toml sets no config_path; set config_path to /etc/containerd/certs.d"},
		"mirrors":                        {[]containerd.Node{node(1, containerd.Config{Mirrors: true})}, "", "sets registry.mirrors; remove registry.mirrors"},
		"unreadable":                     {[]containerd.Node{{PID: 7, Err: fs.ErrPermission}}, "", "permission denied; run as root"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, says, err := containerd.ReadDir(test.nodes)
			var advice *containerd.AdviceError
			if errors.As(err, &advice) {
				says = err.Error() + "; " + advice.Advice
			}
			if dir != test.dir || (err == nil) != (test.dir != "") || !strings.Contains(says, test.says) {
				t.Errorf("ReadDir = %q, %q, error %v; want the directory %q and a reason or advice with %q", dir, says, err, test.dir, test.says)
			}
		})
	}
}
