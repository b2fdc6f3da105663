//go:build full

package acceptance

import (
	"archive/tar"
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// app is a repository of images that a node can unpack and run.
type app struct {
	dir    string
	layout *layouttest.Layout
	// image has the tag v1. other is an image for another platform. inner, with the tag flat, is an
	// index of the two. nested, with the tag nested, is an index of inner. Not all clients support
	// such an index of an index.
	image, inner, nested, other ocispec.Descriptor
	// large is the large first layer of image.
	large ocispec.Descriptor
}

// largeLayer is the size of a layer, in bytes. No client reads so much at once.
const largeLayer = 24 << 20

// newApp builds the repository app. Apps with different names share no layer.
func newApp(t *testing.T, name string) *app {
	t.Helper()
	a := &app{dir: t.TempDir()}
	a.layout = layouttest.New(t, a.dir).Layout("app")
	a.image = runnable(t, a.layout,
		tarOf(t, map[string][]byte{"data": noise(name, largeLayer)}),
		tarOf(t, map[string][]byte{"hello": helloProgram(t), "name": []byte(name)}))
	a.other = a.layout.Image(layouttest.Image{
		Name: name + " elsewhere", Files: map[string]string{"name": name}, Platform: &ocispec.Platform{OS: "linux", Architecture: "s390x"},
	})
	a.inner = a.layout.Index(layouttest.Index{Children: []ocispec.Descriptor{a.other, a.image}})
	a.nested = a.layout.Index(layouttest.Index{Children: []ocispec.Descriptor{a.inner}})
	a.layout.Tag(a.image, "v1")
	a.layout.Tag(a.inner, "flat")
	a.layout.Tag(a.nested, "nested")
	a.layout.Write()
	a.large = parse(t, blob(t, layout(a.layout.Dir()), a.image.Digest)).Layers[0]
	return a
}

// content returns the blobs that a node of this platform must fetch to pull a manifest.
func (a *app) content(t *testing.T, d digest.Digest) contents {
	t.Helper()
	want := contentOf(t, layout(a.layout.Dir()), a.image.Digest)
	if d == a.nested.Digest {
		for _, index := range []digest.Digest{a.nested.Digest, a.inner.Digest} {
			want[index] = blob(t, layout(a.layout.Dir()), index)
		}
	}
	return want
}

// runnable writes an image with tar layers. By default its program waits for a signal, so that the
// image can also be the sandbox of a pod.
func runnable(t *testing.T, l *layouttest.Layout, layers ...[]byte) ocispec.Descriptor {
	t.Helper()
	config := ocispec.Image{
		Platform: ocispec.Platform{OS: "linux", Architecture: runtime.GOARCH},
		Config:   ocispec.ImageConfig{Cmd: []string{"/hello", "hold"}},
		RootFS:   ocispec.RootFS{Type: "layers"},
	}
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	for _, layer := range layers {
		d := l.Blob(ocispec.MediaTypeImageLayer, layer)
		manifest.Layers = append(manifest.Layers, d)
		// Layers are not compressed, so the digest of a layer is also its diff ID.
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, d.Digest)
	}
	manifest.Config = l.Blob(ocispec.MediaTypeImageConfig, marshal(t, config))
	d := l.Blob(manifest.MediaType, marshal(t, manifest))
	d.Platform = &config.Platform
	return d
}

func tarOf(t *testing.T, files map[string][]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, data := range files {
		err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: 0o755, Typeflag: tar.TypeReg})
		if err == nil {
			_, err = w.Write(data)
		}
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

func noise(name string, size int) []byte {
	var seed [32]byte
	copy(seed[:], name)
	data := make([]byte, size)
	_, _ = rand.NewChaCha8(seed).Read(data) // never fails
	return data
}

const helloSource = `package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "hold" {
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
		<-stop
		return
	}
	name, err := os.ReadFile("/name")
	fmt.Printf("hello from %s %v\n", name, err)
}
`

// helloProgram builds a static program that prints a greeting. With the argument hold, the program
// waits for a signal instead.
func helloProgram(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"main.go": helloSource, "go.mod": "module hello\n\ngo 1.26\n"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", "hello", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	data := layouttest.ReadFile(t, filepath.Join(dir, "hello"))
	return data
}
