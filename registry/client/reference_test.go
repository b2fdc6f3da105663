package client_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/registry/client"
)

func TestParseReference(t *testing.T) {
	for s, want := range map[string]client.Reference{
		"registry.example/deckhouse/ee": {Registry: "registry.example", Path: "deckhouse/ee"},
		"localhost/x":                   {Registry: "localhost", Path: "x"},
		"localhost:5000":                {Registry: "localhost:5000"},
		"127.0.0.1:5000/":               {Registry: "127.0.0.1:5000"},
		"[::1]:5000/a/b":                {Registry: "[::1]:5000", Path: "a/b"},
		"host:5000/localhost/x":         {Registry: "host:5000", Path: "localhost/x"},
		"docker.io/me/x":                {Registry: "index.docker.io", Path: "me/x"},
	} {
		if got, err := client.ParseReference(s); err != nil || got != want {
			t.Errorf("ParseReference(%q) = %+v, %v; want %+v", s, got, err, want)
		}
	}
	for _, s := range []string{
		"", "/", "bundle", "deckhouse/ee", "./bundle", "http://localhost:5000/x", "host:5000/x:tag", "host:5000/X",
		"host:5000/x@sha256:" + strings.Repeat("0", 64), "host:5000//x", "user:secret@host:5000/x", "host:5000/" + strings.Repeat("a", 256),
	} {
		if got, err := client.ParseReference(s); !errors.Is(err, client.ErrReference) {
			t.Errorf("ParseReference(%q) = %+v, error %v; want ErrReference", s, got, err)
		}
	}
}

func TestReferenceRepository(t *testing.T) {
	for _, test := range [][3]string{
		{"h:1/a/b", ".", "a/b"}, {"h:1/a/b", "modules/x", "a/b/modules/x"}, {"h:1", "modules/x", "modules/x"}, {"h:1", ".", ""},
	} {
		r, err := client.ParseReference(test[0])
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Repository(test[1]); got != test[2] {
			t.Errorf("Repository(%q) of %q = %q, want %q", test[1], test[0], got, test[2])
		}
	}
}

// Printing a reference and parsing the result gives the same reference.
func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"localhost:5000/x", "a.b/c/d", "[::1]:5/x", "docker.io/x", "x", "a.b:c/d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := client.ParseReference(s)
		if err != nil {
			return
		}
		again, err := client.ParseReference(r.String())
		if err != nil || again != r {
			t.Fatalf("ParseReference(%q) = %+v, but its String is parsed as %+v (error %v); want the same", s, r, again, err)
		}
		if r.Path != "" && !names.IsRepository(r.Path) {
			t.Fatalf("ParseReference(%q) returned the illegal path %q, want a legal one", s, r.Path)
		}
	})
}
