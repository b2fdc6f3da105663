package doctor_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry/containerd"
	"github.com/layoutproxy/layoutproxy/registry/doctor"
)

// node is the file system of a machine with a certs.d directory and perhaps containerd processes.
type node struct {
	*testing.T
	dir, certs, proc string
	url              string
}

func newNode(t *testing.T) *node {
	t.Helper()
	dir := t.TempDir()
	n := &node{t, dir, filepath.Join(dir, "certs.d"), filepath.Join(dir, "proc"), listen(t, bundle(t)).URL}
	n.write("proc/stat", "cpu 1 2 3\nbtime 1000000000\n")
	n.write("certs.d/other.example/hosts.toml", "[host.\"http://other\"]\n")
	return n
}

func (n *node) write(name, text string) string {
	n.Helper()
	file := filepath.Join(n.dir, name)
	err := os.MkdirAll(filepath.Dir(file), 0o755)
	if err == nil {
		err = os.WriteFile(file, []byte(text), 0o644)
	}
	if err != nil {
		n.Fatal(err)
	}
	return file
}

func (n *node) run(config string) {
	n.Helper()
	file := n.write("config.toml", config)
	n.write("proc/7/comm", "bash\n")
	n.write("proc/42/comm", "containerd\n")
	n.write("proc/42/cmdline", "/usr/bin/containerd\x00--config\x00"+file+"\x00")
	started := time.Now().Add(-time.Hour).Unix() - 1000000000
	n.write("proc/42/stat", fmt.Sprintf("42 (a ) b) S%s %d 0 0\n", strings.Repeat(" 1", 18), started*100))
	n.age(file, 2*time.Hour)
}

func (n *node) age(file string, d time.Duration) {
	n.Helper()
	then := time.Now().Add(-d)
	if err := os.Chtimes(file, then, then); err != nil {
		n.Fatal(err)
	}
}

func (n *node) examine(image string) *doctor.Report {
	n.Helper()
	return examine(n.T, doctor.Options{URL: n.url, Image: image, HostsDir: n.certs, Proc: n.proc})
}

func TestHostsFileOfRegistry(t *testing.T) {
	for name, test := range map[string]struct {
		file  string // hosts.toml of reg.example, where URL stands for the URL of the server
		state doctor.State
		words []string
	}{
		"first":                 {"server = \"https://reg.example\"\n[host.\"URL\"]\n", doctor.OK, []string{"points here first, then to https://reg.example"}},
		"only":                  {"server = \"URL/v2\"\n[host.\"URL\"]\n", doctor.OK, []string{"nowhere else"}},
		"the server":            {"server = \"URL\"\n", doctor.OK, []string{"as the registry itself"}},
		"second":                {"[host.\"https://a\"]\n[host.\"URL\"]\n", doctor.Warning, []string{"https://a before"}},
		"elsewhere":             {"[host.\"https://a\"]\n", doctor.Failed, []string{"points to https://a, not to", "layoutproxy mirror-config reg.example --endpoint"}},
		"nowhere":               {"skip_verify = true\n", doctor.Failed, []string{"the registry itself"}},
		"no resolve":            {"[host.\"URL\"]\ncapabilities = [\"pull\"]\n", doctor.Warning, []string{"resolve"}},
		"no pull":               {"[host.\"URL\"]\ncapabilities = [\"resolve\"]\n", doctor.Failed, []string{"pull"}},
		"no certificate":        {"[host.\"URL\"]\nca = \"no.pem\"\n", doctor.Failed, []string{"no.pem"}},
		"no client certificate": {"[host.\"URL\"]\nclient = [[\"no.cert\", \"no.key\"]]\n", doctor.Failed, []string{"no.cert"}},
		"invalid TOML":          {"[host.\"URL\"]\nca\n", doctor.Failed, []string{"line 2"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.write("certs.d/reg.example/hosts.toml", strings.ReplaceAll(test.file, "URL", n.url))
			expect(t, n.examine("reg.example/app:v1"), "hosts.toml", test.state, test.words...)
		})
	}
	n := newNode(t)
	expect(t, n.examine("reg.example/app:v1"), "hosts.toml", doctor.Failed, "no hosts.toml for reg.example", "layoutproxy mirror-config reg.example")
	expect(t, n.examine("app:v1"), "hosts.toml", doctor.Skipped, "mirror-config")
	expect(t, n.examine(""), "hosts.toml", doctor.Skipped)
	n.write("certs.d/reg.example_5000_/hosts.toml", "[host.\""+n.url+"\"]\n")
	expect(t, n.examine(""), "hosts.toml", doctor.OK, "reg.example_5000_/hosts.toml points here")
	expect(t, n.examine("reg.example:5000/app:v1"), "hosts.toml", doctor.OK)
	n.write("certs.d/_default/hosts.toml", "[host.\""+n.url+"\"]\n")
	expect(t, n.examine("reg.example/app:v1"), "hosts.toml", doctor.OK, "_default")
}

func TestHostsFileWrittenByMirrorConfig(t *testing.T) {
	n := newNode(t)
	for _, o := range []containerd.MirrorOptions{
		{Host: "reg.example", Endpoint: n.url},
		{Host: "reg.example", Endpoint: n.url + "/v2", OverridePath: true, NoFallback: true},
	} {
		m, err := containerd.NewMirror(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Write(n.certs); err != nil {
			t.Fatal(err)
		}
		n.run("version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"" + n.certs + "\"\n")
		r := n.examine("reg.example/app:v1")
		expect(t, r, "hosts.toml", doctor.OK)
		expect(t, r, "containerd", doctor.OK)
	}
}

func TestContainerdConfigurations(t *testing.T) {
	const cri, images, transfer = `[plugins."io.containerd.grpc.v1.cri"`, `[plugins."io.containerd.cri.v1.images"`, `[plugins."io.containerd.transfer.v1.local"]`
	for name, test := range map[string]struct {
		config string // CERTS stands for the certs.d directory
		state  doctor.State
		words  []string
	}{
		"1.x":                                  {"version = 2\n" + cri + ".registry]\nconfig_path = \"CERTS\"\n", doctor.OK, []string{"CERTS"}},
		"1.x, two directories":                 {"version = 2\n" + cri + ".registry]\nconfig_path = \"/etc/a:CERTS/\"\n", doctor.OK, nil},
		"1.x, unset":                           {"version = 2\n", doctor.Failed, []string{"config_path is not set", cri[9:], "CERTS", "restart"}},
		"1.x, elsewhere":                       {"version = 2\n" + cri + ".registry]\nconfig_path = \"/etc/a\"\n", doctor.Failed, []string{"/etc/a", "CERTS"}},
		"1.x, mirrors":                         {"version = 2\n" + cri + ".registry.mirrors.\"a\"]\nendpoint = [\"b\"]\n", doctor.Failed, []string{"registry.mirrors"}},
		"2.x":                                  {"version = 3\n" + images + ".registry]\nconfig_path = \"CERTS\"\n" + transfer + "\nconfig_path = \"CERTS\"\n", doctor.OK, []string{"transfer"}},
		"2.x, no path for the transfer plugin": {"version = 3\n" + images + ".registry]\nconfig_path = \"CERTS\"\n", doctor.Warning, []string{transfer[9:40], "CERTS"}},
		"2.x, two directories":                 {"version = 3\n" + images + ".registry]\nconfig_path = \"CERTS:/etc/a\"\n", doctor.Warning, []string{"single directory"}},
		"2.x, two directories, pulls locally":  {"version = 3\n" + images + "]\nuse_local_image_pull = true\n" + images + ".registry]\nconfig_path = \"CERTS:/etc/a\"\n" + transfer + "\nconfig_path = \"CERTS\"\n", doctor.OK, nil},
		"2.x, unset":                           {"version = 3\n", doctor.Failed, []string{"/etc/containerd/certs.d", "CERTS"}},
		"Docker's containerd":                  {"disabled_plugins = [\"cri\"]\n", doctor.Skipped, []string{"without the CRI plugin"}},
		"imported":                             {"version = 2\nimports = [\"conf.d/*.toml\"]\n", doctor.OK, nil},
		"invalid TOML":                         {"version = \n", doctor.Failed, []string{"config.toml: line 1"}},
		"invalid import":                       {"version = 2\nimports = [\"broken.toml\"]\n", doctor.Failed, []string{"broken.toml: line 2"}},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.write("certs.d/reg.example/hosts.toml", "[host.\""+n.url+"\"]\n")
			n.age(n.write("conf.d/a.toml", cri+".registry]\nconfig_path = \""+n.certs+"\"\n"), 2*time.Hour)
			n.write("broken.toml", "\n=\n")
			n.run(strings.ReplaceAll(test.config, "CERTS", n.certs))
			var words []string
			for _, word := range test.words {
				words = append(words, strings.ReplaceAll(word, "CERTS", n.certs))
			}
			expect(t, n.examine("reg.example/app:v1"), "containerd", test.state, words...)
		})
	}
}

// Doctor warns if the configuration of containerd was written after containerd started, because
// containerd does not use it yet.
func TestConfigurationNewerThanContainerd(t *testing.T) {
	n := newNode(t)
	n.write("certs.d/reg.example/hosts.toml", "[host.\""+n.url+"\"]\n")
	n.run("version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"" + n.certs + "\"\n")
	expect(t, n.examine(""), "containerd", doctor.OK)
	n.age(filepath.Join(n.dir, "config.toml"), 0)
	expect(t, n.examine(""), "containerd", doctor.Warning, "restart containerd")
}

// A containerd in a container is not this node's, and has another configuration than the file that this node has at
// the same path, if it has one. kind's is /etc/containerd/config.toml (kubernetes-sigs/kind,
// images/base/files/etc/containerd/config.toml). dockerd in a container passes --config with a file in its state
// directory (moby/moby, libcontainerd/supervisor/remote_daemon.go).
func TestContainerdInContainer(t *testing.T) {
	n := newNode(t)
	n.write("certs.d/reg.example/hosts.toml", "[host.\""+n.url+"\"]\n")
	n.run("version = 2\n")
	config, root := filepath.Join(n.dir, "config.toml"), filepath.Join(n.proc, "42", "root")
	layouttest.Try(t, os.Symlink("/", root))
	expect(t, n.examine("reg.example/app:v1"), "containerd", doctor.Failed, "config_path is not set")
	n.write(filepath.Join("container", config), "version = 2\n")
	layouttest.Try(t, os.Remove(root))
	layouttest.Try(t, os.Symlink(filepath.Join(n.dir, "container"), root))
	expect(t, n.examine("reg.example/app:v1"), "containerd", doctor.Skipped, "no containerd runs on this machine")
	for _, file := range []string{config, filepath.Join(n.dir, "container", config)} {
		layouttest.Try(t, os.Remove(file))
		expect(t, n.examine("reg.example/app:v1"), "containerd", doctor.Skipped, "no containerd runs on this machine")
	}
}

func TestDefaultHostsDir(t *testing.T) {
	n := newNode(t)
	n.run("version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\nconfig_path = \"" + n.certs + "\"\n")
	n.write("certs.d/reg.example/hosts.toml", "[host.\""+n.url+"\"]\n")
	r, err := doctor.Run(t.Context(), doctor.Options{URL: n.url, Proc: n.proc})
	if err != nil {
		t.Fatal(err)
	}
	expect(t, r, "hosts.toml", doctor.OK, n.certs)
	expect(t, r, "containerd", doctor.OK)
}
