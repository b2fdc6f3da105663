package containerd_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/registry/containerd"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// certs stands for the temporary directory in golden files.
const certs = "/etc/containerd/certs.d"

func mirror(t *testing.T, change func(*containerd.MirrorOptions)) *containerd.Mirror {
	t.Helper()
	o := containerd.MirrorOptions{Host: "registry.example", Endpoint: "http://127.0.0.1:5000"}
	if change != nil {
		change(&o)
	}
	m, err := containerd.NewMirror(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(read(t, file), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// put writes a hand-written hosts.toml for registry.example below a new directory.
func put(t *testing.T, text string) (dir, file string) {
	t.Helper()
	dir = t.TempDir()
	file = filepath.Join(dir, "registry.example", "hosts.toml")
	if err := os.Mkdir(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	return dir, file
}

func write(t *testing.T, m *containerd.Mirror, dir, did string) containerd.Change {
	t.Helper()
	change, err := m.Write(dir)
	if err != nil {
		t.Fatal(err)
	}
	if change.Did != did {
		t.Errorf("Write returned Did %s, want %s", change.Did, did)
	}
	return change
}

func remove(t *testing.T, dir, host, did string) {
	t.Helper()
	if change, err := containerd.Remove(dir, host); err != nil || change.Did != did {
		t.Fatalf("Remove returned %+v and the error %v, want Did %s", change, err, did)
	}
}

// Write keeps all hand-written lines. Removing layoutproxy's section restores the file.
func TestWriteAndRemoveHandWrittenFiles(t *testing.T) {
	for _, name := range []string{
		"commented", "tables", "crlf", "nonewline", "crlf-nonewline", "comments", "empty", "tricky", "servertable",
	} {
		t.Run(name, func(t *testing.T) {
			hand := read(t, filepath.Join("testdata", name+".toml"))
			dir, file := put(t, hand)
			m := mirror(t, nil)
			write(t, m, dir, "changed")
			written := read(t, file)
			golden(t, name+".golden", strings.ReplaceAll(written, dir, certs))
			write(t, m, dir, "unchanged")

			other := mirror(t, func(o *containerd.MirrorOptions) { o.Endpoint = "https://proxy.example:5000/a" })
			write(t, other, dir, "changed")
			if got := read(t, file); strings.Contains(got, "127.0.0.1") || strings.Count(got, "# BEGIN layoutproxy") != 1 {
				t.Errorf("after a write for another endpoint, the file contains the old section, want only the new one:\n%s", got)
			}
			write(t, m, dir, "changed")
			if got := read(t, file); got != written {
				t.Errorf("after the first mirror was written again, the file differs from the first result, want the same:\n%s", cmp.Diff(written, got))
			}

			remove(t, dir, "registry.example", "removed")
			if diff := cmp.Diff(hand, read(t, file)); diff != "" {
				t.Errorf("after Remove, the file differs from the hand-written one (-want +got):\n%s", diff)
			}
			remove(t, dir, "registry.example", "absent")
			info, err := os.Stat(file)
			if err != nil {
				t.Fatalf("after Remove, the file cannot be examined: %v", err)
			}
			if info.Mode().Perm() != 0o640 {
				t.Errorf("after Remove, the file has the mode %v, want 0640 as before", info.Mode())
			}
		})
	}
}

func TestTextOfNewFiles(t *testing.T) {
	secure := func(o *containerd.MirrorOptions) {
		o.Endpoint = "https://proxy.example:5000"
		o.CA, o.ClientCert, o.ClientKey = "/etc/layoutproxy/ca.pem", "/etc/layoutproxy/node.pem", "/etc/layoutproxy/node.key"
	}
	for name, change := range map[string]func(*containerd.MirrorOptions){
		"plain":        nil,
		"secure":       secure,
		"port":         func(o *containerd.MirrorOptions) { o.Host = "registry.example:5000" },
		"dockerhub":    func(o *containerd.MirrorOptions) { o.Host = "docker.io" },
		"default":      func(o *containerd.MirrorOptions) { o.Host = "_default" },
		"overridepath": func(o *containerd.MirrorOptions) { o.Endpoint, o.OverridePath = "http://127.0.0.1:5000/m/a/", true },
		"nofallback":   func(o *containerd.MirrorOptions) { o.NoFallback = true },
		"everything":   func(o *containerd.MirrorOptions) { secure(o); o.NoFallback, o.OverridePath = true, true },
	} {
		t.Run(name, func(t *testing.T) {
			golden(t, "new-"+name+".golden", mirror(t, change).Text(certs))
		})
	}
}

func TestRemoveCreatedDirectories(t *testing.T) {
	m := mirror(t, func(o *containerd.MirrorOptions) { o.Host = "registry.example:5000" })
	below := func(dir, name string) string { return filepath.Join(dir, "registry.example_5000_", name) }
	gone := func(path string) {
		t.Helper()
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("%s still exists (error %v), want it removed", path, err)
		}
	}

	dir := filepath.Join(t.TempDir(), "certs.d")
	write(t, m, dir, "created")
	write(t, m, dir, "unchanged")
	remove(t, dir, "registry.example:5000", "removed")
	gone(dir)

	// The directory was created for two sections, so it is removed with the last one.
	write(t, m, dir, "created")
	write(t, mirror(t, func(o *containerd.MirrorOptions) { o.Host = "other.example" }), dir, "created")
	remove(t, dir, "registry.example:5000", "removed")
	remove(t, dir, "other.example", "removed")
	gone(dir)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, m, dir, "created")
	remove(t, dir, "registry.example:5000", "removed")
	if _, err := os.Stat(dir); err != nil {
		t.Errorf("Remove removed a directory that Write had not created, want it kept: %v", err)
	}

	write(t, m, dir, "created")
	if err := os.WriteFile(below(dir, "ca.pem"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	remove(t, dir, "registry.example:5000", "removed")
	gone(below(dir, "hosts.toml"))

	write(t, m, dir, "created") // the directory already exists, but not the file
	if err := os.Remove(below(dir, "ca.pem")); err != nil {
		t.Fatal(err)
	}
	remove(t, dir, "registry.example:5000", "removed")
	if _, err := os.Stat(below(dir, "")); err != nil {
		t.Error(err)
	}

	write(t, m, dir, "created")
	text := read(t, below(dir, "hosts.toml")) + "[host.\"https://mine.example\"]\n"
	if err := os.WriteFile(below(dir, "hosts.toml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	remove(t, dir, "registry.example:5000", "removed")
	if got := read(t, below(dir, "hosts.toml")); got != "[host.\"https://mine.example\"]\n" {
		t.Errorf("after Remove, the file contains %q, want only the hand-written table", got)
	}
}

// containerd reads only the first directory that exists, so Write uses that directory.
func TestWriteIntoExistingDirectory(t *testing.T) {
	dir := t.TempDir()
	colon := filepath.Join(dir, "registry.example:5000")
	if err := os.Mkdir(colon, 0o755); err != nil {
		t.Fatal(err)
	}
	m := mirror(t, func(o *containerd.MirrorOptions) { o.Host = "registry.example:5000" })
	if change := write(t, m, dir, "created"); change.File != filepath.Join(colon, "hosts.toml") {
		t.Errorf("Write used %s, want the existing directory", change.File)
	}
	if err := os.Mkdir(filepath.Join(dir, "registry.example_5000_"), 0o755); err != nil {
		t.Fatal(err)
	}
	remove(t, dir, "registry.example:5000", "removed") // Remove finds the section in either directory
	if change := write(t, m, dir, "created"); change.File != filepath.Join(dir, "registry.example_5000_", "hosts.toml") {
		t.Errorf("Write used %s, want the directory that containerd looks for first", change.File)
	}
}

func TestWriteWarnsOfHiddenFiles(t *testing.T) {
	dir, file := put(t, "")
	if err := os.Rename(file, filepath.Join(filepath.Dir(file), "registry.crt")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "_default"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "_default", "hosts.toml"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	change := write(t, mirror(t, nil), dir, "created")
	if len(change.Warnings) != 2 || !strings.Contains(change.Warnings[0], "registry.crt") || !strings.Contains(change.Warnings[1], "_default") {
		t.Errorf("the warnings are %q, want one about registry.crt and one about _default", change.Warnings)
	}
}

func TestWriteFollowsLinks(t *testing.T) {
	dir, file := put(t, "")
	real := filepath.Join(t.TempDir(), "real.toml")
	if err := os.Rename(file, real); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(real, file); err != nil {
		t.Fatal(err)
	}
	write(t, mirror(t, nil), dir, "changed")
	if info, err := os.Lstat(file); err != nil || info.Mode().Type() != os.ModeSymlink {
		t.Errorf("after Write, the link is %v (error %v), want it to be a link still", info, err)
	}
	remove(t, dir, "registry.example", "removed")
	if got := read(t, real); got != "" {
		t.Errorf("after Remove, the target of the link contains %q, want it empty as before", got)
	}
}

func TestWriteRefusesContradictorySettings(t *testing.T) {
	plain := func(*containerd.MirrorOptions) {}
	alone := func(o *containerd.MirrorOptions) { o.NoFallback = true }
	for name, test := range map[string]struct {
		hand   string
		change func(*containerd.MirrorOptions)
		want   string
	}{
		"no TOML":                                {"server = \"https://a\"\n[host\n", plain, "hosts.toml: line 2, column"},
		"a duplicate":                            {"ca = \"a\"\nca = \"b\"\n", plain, "hosts.toml: line 2"},
		"the same endpoint":                      {"[host.\"http://127.0.0.1:5000\"]\n", plain, "hand-written table for the same endpoint: [host.\"http://127.0.0.1:5000\"]"},
		"the same endpoint, spelled differently": {"[host.'http://127.0.0.1:5000/v2/']\n", plain, "hand-written table for the same endpoint"},
		"an inline table":                        {"host = {\"http://a\" = {}}\n", plain, "layoutproxy's section cannot be added"},
		"another server":                         {"server = \"https://registry.example\"\n", alone, "server = \"https://registry.example\""},
		"a key of the server":                    {"ca = \"a.pem\"\n", alone, `key "ca"`},
		"BEGIN alone":                            {"# BEGIN layoutproxy mirror-config\n", plain, "no END"},
		"END alone":                              {"\n# END layoutproxy mirror-config\n", plain, "line 2: an END"},
		"BEGIN twice":                            {"# BEGIN layoutproxy mirror-config\n# END layoutproxy mirror-config\n# BEGIN layoutproxy mirror-config\n", plain, "line 3: a second BEGIN"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, file := put(t, test.hand)
			_, err := mirror(t, test.change).Write(dir)
			var advice *containerd.AdviceError
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), file) || !errors.As(err, &advice) {
				t.Errorf("Write returned %v, want an AdviceError with %q and the file", err, test.want)
			}
			if got := read(t, file); got != test.hand {
				t.Errorf("Write changed the file to %q, want no change", got)
			}
		})
	}
}

func TestNoFallbackWithSameServer(t *testing.T) {
	hand := "server = \"http://127.0.0.1:5000\"\n"
	dir, file := put(t, hand)
	write(t, mirror(t, func(o *containerd.MirrorOptions) { o.NoFallback = true }), dir, "changed")
	if got := read(t, file); !strings.HasPrefix(got, hand) || strings.Count(got, "server =") != 1 || !strings.Contains(got, "[host.\"http://127.0.0.1:5000\"]") {
		t.Errorf("Write wrote this file, want the hand-written server line first and only once, and a table for the mirror:\n%s", got)
	}
}

// Keys after layoutproxy's section belong to the table at the end of that section. Without the
// section, they would be keys of the server, so Remove refuses to remove it.
func TestRemoveRefusesToMoveKeys(t *testing.T) {
	dir, file := put(t, "")
	write(t, mirror(t, nil), dir, "changed")
	text := read(t, file) + "skip_verify = true\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := containerd.Remove(dir, "registry.example"); err == nil || read(t, file) != text {
		t.Errorf("Remove returned the error %v, want an error and no change to the file", err)
	}
}

// Write refuses an unreadable certificate, because containerd could not pull with a hosts.toml that
// contains the certificate's path.
func TestWriteRefusesMissingCertificates(t *testing.T) {
	dir := t.TempDir()
	for _, change := range []func(*containerd.MirrorOptions){
		func(o *containerd.MirrorOptions) { o.CA = filepath.Join(dir, "no.pem") },
		func(o *containerd.MirrorOptions) { o.CA = "write_test.go" },
		func(o *containerd.MirrorOptions) { o.ClientCert = "write_test.go" },
	} {
		m := mirror(t, func(o *containerd.MirrorOptions) { o.Endpoint = "https://proxy.example"; change(o) })
		if _, err := m.Write(dir); err == nil {
			t.Error("Write returned no error, want one, because the certificate is unusable")
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("certs.d contains %v (error %v), want nothing", entries, err)
	}
}

func TestNewMirrorRefusesInvalidOptions(t *testing.T) {
	for _, o := range []containerd.MirrorOptions{
		{Host: "", Endpoint: "http://a"},
		{Host: "https://registry.example", Endpoint: "http://a"},
		{Host: "registry.example/deckhouse", Endpoint: "http://a"},
		{Host: "..", Endpoint: "http://a"},
		{Host: "a b", Endpoint: "http://a"},
		{Host: "a", Endpoint: ""},
		{Host: "a", Endpoint: "127.0.0.1:5000"},
		{Host: "a", Endpoint: "ftp://127.0.0.1"},
		{Host: "a", Endpoint: "http://user:secret@127.0.0.1"},
		{Host: "a", Endpoint: "http://127.0.0.1/?ns=b"},
		{Host: "a", Endpoint: "http://127.0.0.1", CA: "ca.pem"},
		{Host: "a", Endpoint: "https://127.0.0.1", ClientKey: "key.pem"},
	} {
		if _, err := containerd.NewMirror(o); err == nil {
			t.Errorf("%+v: accepted", o)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error of NewMirror contains the password, want none: %v", err)
		}
	}
}
