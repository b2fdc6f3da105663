package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/registry/client"
	"github.com/layoutproxy/layoutproxy/registry/registrytest"
)

// TestMain keeps the user's own settings from influencing the tests.
func TestMain(m *testing.M) {
	home, err := os.MkdirTemp("", "layoutproxy-home")
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "DOCKER_AUTH_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		os.Unsetenv(name)
	}
	os.Setenv("HOME", home)
	code := m.Run()
	os.RemoveAll(home)
	os.Exit(code)
}

var user = client.Credential{Username: registrytest.Username, Password: registrytest.Password, Source: "the test"}

// dial makes a client for a registry, with short pauses.
func dial(t *testing.T, r *registrytest.Registry, change ...func(*client.Options)) *client.Client {
	t.Helper()
	o := client.Options{Registry: r.Host, PlainHTTP: true, Push: true, FirstPause: time.Millisecond, Silence: 5 * time.Minute, StreamFrom: streamFrom}
	for _, f := range change {
		f(&o)
	}
	c, err := client.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

type blob struct {
	data   []byte
	digest digest.Digest
}

// noise returns a blob of n random bytes. The same seed gives the same blob.
func noise(n int, seed byte) blob {
	data := make([]byte, n)
	r := rand.NewChaCha8([32]byte{seed})
	_, _ = r.Read(data)
	return blob{data, digest.FromBytes(data)}
}

func (b blob) upload(repository string) client.Upload {
	return client.Upload{Repository: repository, Digest: b.digest, Size: int64(len(b.data)),
		Open: func() (io.ReadSeekCloser, error) { return nopCloser{bytes.NewReader(b.data)}, nil }}
}

type nopCloser struct{ io.ReadSeeker }

func (nopCloser) Close() error { return nil }

func read(t *testing.T, c *client.Client, repository string, b blob, offset int64) []byte {
	t.Helper()
	r, err := c.Blob(t.Context(), repository, b.digest, int64(len(b.data)), offset)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// wantBlob fails the test unless the registry has the blob with its exact content.
func wantBlob(t *testing.T, c *client.Client, repository string, b blob) {
	t.Helper()
	if got := read(t, c, repository, b, 0); !bytes.Equal(got, b.data) {
		t.Fatalf("blob %s in the registry has wrong content (%d bytes), want the uploaded content", b.digest, len(got))
	}
}

func upload(t *testing.T, c *client.Client, u client.Upload, b blob) client.Uploaded {
	t.Helper()
	how, err := c.Upload(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	wantBlob(t, c, u.Repository, b)
	return how
}

// image pushes an image with one layer to a tag, and returns its manifest.
func image(t *testing.T, c *client.Client, repository, tag string) client.Manifest {
	t.Helper()
	config, layer := noise(300, 1), noise(3000, 2)
	config.data = []byte(`{"architecture":"amd64","os":"linux"}`)
	config.digest = digest.FromBytes(config.data)
	for _, b := range []blob{config, layer} {
		if _, err := c.Upload(t.Context(), b.upload(repository)); err != nil {
			t.Fatal(err)
		}
	}
	m := manifest(config, layer)
	if _, err := c.PutManifest(t.Context(), repository, tag, m); err != nil {
		t.Fatal(err)
	}
	return m
}

type sessions struct{ location string }

func (s *sessions) Load() string         { return s.location }
func (s *sessions) Save(location string) { s.location = location }
func (s *sessions) Drop()                { s.location = "" }

func wantCause(t *testing.T, err, cause error) {
	t.Helper()
	_ = failure(t, err, cause)
}

// failure returns err as an *Error. It fails the test unless err is an *Error with the given cause.
func failure(t *testing.T, err, cause error) *client.Error {
	t.Helper()
	var e *client.Error
	if !errors.As(err, &e) || !errors.Is(err, cause) {
		t.Fatalf("got error %v, want a client.Error with the cause: %v", err, cause)
	}
	return e
}

func writeFile(t *testing.T, data string, elem ...string) string {
	t.Helper()
	name := filepath.Join(elem...)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(data), 0o700); err != nil {
		t.Fatal(err)
	}
	return name
}

func contextWithCancel(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithCancel(t.Context())
}
