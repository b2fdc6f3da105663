package doctor_test

import (
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/registry"
	"github.com/layoutproxy/layoutproxy/registry/doctor"
)

// bundle returns a registry with an image, a nested index, and an image for a platform that no
// test machine has.
func bundle(t *testing.T) http.Handler {
	t.Helper()
	tree := layouttest.New(t, t.TempDir())
	l := tree.Layout("app")
	image := l.Image(layouttest.Image{Name: "one", Platform: platform("linux", runtime.GOARCH), LayerSizes: []int64{100, 200_000, 5}})
	other := l.Image(layouttest.Image{Name: "two", Platform: platform("linux", "riscv64"), LayerSizes: []int64{64}})
	strange := l.Image(layouttest.Image{Name: "three", Platform: platform("plan9", "vax")})
	inner := l.Index(layouttest.Index{Children: []ocispec.Descriptor{image, other}})
	l.Tag(image, "v1")
	l.Tag(l.Index(layouttest.Index{Children: []ocispec.Descriptor{inner, strange}}), "nested")
	l.Tag(l.Index(layouttest.Index{Children: []ocispec.Descriptor{strange}}), "strange")
	l.Tag(l.Index(layouttest.Index{Children: []ocispec.Descriptor{strange, l.Image(layouttest.Image{Name: "four", Platform: otherSpelling(), LayerSizes: []int64{70}})}}), "spelled")
	l.Write()
	store, err := layoutstore.Open(t.Context(), layoutstore.Options{Sources: []string{tree.Dir()}, Roots: []string{""}})
	if err != nil {
		t.Fatal(err)
	}
	h, err := registry.New(store, registry.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func platform(os, arch string) *ocispec.Platform {
	return &ocispec.Platform{OS: os, Architecture: arch}
}

// otherSpelling returns the platform of this machine in the spelling of uname. If the platform has
// a default variant, otherSpelling adds it.
func otherSpelling() *ocispec.Platform {
	switch runtime.GOARCH {
	case "amd64":
		return platform("linux", "x86_64")
	case "arm64":
		return &ocispec.Platform{OS: "linux", Architecture: "aarch64", Variant: "v8"}
	}
	return platform("linux", runtime.GOARCH)
}

func listen(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// examine runs doctor with options that make the configuration of this machine irrelevant.
func examine(t *testing.T, o doctor.Options) *doctor.Report {
	t.Helper()
	if o.HostsDir == "" {
		o.HostsDir = t.TempDir() + "/certs.d"
	}
	if o.Proc == "" {
		o.Proc = t.TempDir()
	}
	r, err := doctor.Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	names := strings.Fields("name connection tls api credentials clock content tag manifest child blob hosts.toml containerd")
	if len(r.Steps) != len(names) {
		t.Fatalf("the report has %d steps, want 13", len(r.Steps))
	}
	for i, name := range names {
		s := r.Steps[i]
		if s.Name != name || s.Detail == "" || strings.Contains(s.Detail, "\n") {
			t.Errorf("step %d is %+v, want the name %s and a detail of one line", i, s, name)
		}
		if s.State == doctor.Failed && s.Advice == "" {
			t.Errorf("the failed step %s (%s) has no advice, want some", s.Name, s.Detail)
		}
	}
	return r
}

func step(t *testing.T, r *doctor.Report, name string) doctor.Step {
	t.Helper()
	for _, s := range r.Steps {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("the report has no step %s, want one", name)
	return doctor.Step{}
}

// expect checks the state of the named step, and that its text contains the given words.
func expect(t *testing.T, r *doctor.Report, name string, state doctor.State, words ...string) {
	t.Helper()
	s := step(t, r, name)
	if s.State != state {
		t.Errorf("the step %s has the state %s, want %s: %s", name, s.State, state, s.Detail)
	}
	for _, word := range words {
		if !strings.Contains(s.Detail+"\n"+s.Advice, word) {
			t.Errorf("the step %s has the detail %q and the advice %q, want %q in one of them", name, s.Detail, s.Advice, word)
		}
	}
}
