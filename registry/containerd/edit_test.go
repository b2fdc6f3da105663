package containerd

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// FuzzEdit checks three things for any hand-written file. Removing layoutproxy's section restores
// the file. containerd asks the mirror before other hosts. Writing twice has the result of writing
// once.
func FuzzEdit(f *testing.F) {
	files, err := filepath.Glob("testdata/*.toml")
	if err != nil || len(files) < 5 {
		f.Fatalf("found %d seed files, want at least 5: %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, false)
		f.Add(text, true)
	}
	f.Add([]byte("\ufeff[host.\"a\"]\n"), false)
	f.Add([]byte("server = 'http://127.0.0.1:5000'"), true)
	f.Fuzz(func(t *testing.T, text []byte, alone bool) {
		m, err := NewMirror(MirrorOptions{Host: "registry.example", Endpoint: "http://127.0.0.1:5000", NoFallback: alone})
		if err != nil {
			t.Fatal(err)
		}
		if p, err := findSection(text); p != nil || err != nil {
			return // the seed already contains layoutproxy's section or a part of it
		}
		const file = "/certs.d/registry.example/hosts.toml"
		edited, err := m.edit(text, file, madeNothing)
		if err != nil {
			return
		}
		again, err := m.edit(edited, file, madeNothing)
		if err != nil || !bytes.Equal(again, edited) {
			t.Fatalf("the second edit returned %q (error %v), want the result of the first, %q", again, err, edited)
		}
		if hosts := hostNames(edited); hosts[0] != m.Endpoint() {
			t.Errorf("containerd asks the hosts %q in this order, want the mirror first in %q", hosts, edited)
		}
		rest, _, found, err := cutSection(edited)
		if err != nil || !found || !bytes.Equal(rest, text) {
			t.Errorf("after the section was cut, the file is %q, want %q (error %v)", rest, text, err)
		}
	})
}

func TestEndpoint(t *testing.T) {
	for _, test := range []struct {
		name     string
		override bool
		want     string
	}{
		{"http://127.0.0.1:5000", false, "http://127.0.0.1:5000/v2"},
		{"http://127.0.0.1:5000/v2/", false, "http://127.0.0.1:5000/v2"},
		{"https://Proxy.Example:443", false, "https://proxy.example/v2"},
		{"proxy.example", false, "https://proxy.example/v2"},
		{"http://[::1]:80/a/", false, "http://[::1]/a/v2"},
		{"http://proxy/a/v2", true, "http://proxy/a/v2"},
		{"http://proxy/a", true, "http://proxy/a"},
		{"http://proxy", true, "http://proxy"},
	} {
		if got, err := Endpoint(test.name, test.override); err != nil || got != test.want {
			t.Errorf("Endpoint(%s) = %s, error %v; want %s", test.name, got, err, test.want)
		}
	}
}

func TestQuote(t *testing.T) {
	for _, s := range []string{`a"b\c`, "\a\v\x7f\x00", "tab\there", "ü", `\x41`, `\\a`} {
		keys, err := parse([]byte("k = " + quote(s)))
		if err != nil || keys["k"] != s {
			t.Errorf("quote(%q) is parsed as %v (error %v), want the original string", s, keys["k"], err)
		}
	}
}
