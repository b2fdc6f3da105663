package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
)

// TestParity serves a bundle that d8 wrote. Its repositories, tags and digests must equal those in
// a registry that d8 has pushed the bundle to.
func TestParity(t *testing.T) {
	t.Parallel()
	sources := unpackEach(t, "testdata/d8")
	want := expected(t, "testdata/d8/expected.tsv")
	reversed := slices.Clone(sources)
	slices.Reverse(reversed)
	rotated := append(slices.Clone(sources[3:]), sources[:3]...)
	for order, sources := range map[string][]string{"by name": sources, "reversed": reversed, "rotated": rotated} {
		t.Run(order, func(t *testing.T) {
			p := start(t, append([]string{"--strict"}, sources...)...)
			if diff := cmp.Diff(want, pulled(t, p.addresses["registry"], want)); diff != "" {
				t.Errorf("unexpected content (-want +got): %s", diff)
			}
			p.signal(t, os.Interrupt)
			if err := <-p.ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestListParity lists one bundle as archives, chunks, unpacked, and after imports into stores.
func TestListParity(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	want := expected(t, "testdata/d8/expected.tsv")
	chunks, unpacked := copies(t, anything), unpackEach(t, "testdata/d8")
	sources := map[string][]string{"archives": {"testdata/d8"}, "chunks": {chunks}, "unpacked": unpacked}
	for form, bundle := range map[string][]string{
		"archives": {"testdata/d8"}, "each archive": single(t, copies(t, nothing)), "chunks": {chunks}, "unpacked": unpacked,
	} {
		store := newStore(t)
		ends(t, append([]string{"import", "--store", store}, bundle...)...)
		sources["imported from "+form] = []string{store}
	}
	store := newStore(t)
	ends(t, "import", "--store", store, "--keep-packed", copies(t, nothing))
	sources["imported with --keep-packed"] = []string{store}
	for form, sources := range sources {
		got := map[string]string{}
		for line := range strings.Lines(ends(t, append([]string{"list"}, sources...)...)) {
			f := strings.Split(line, "\t")
			key := f[0] + ":" + f[1]
			if got[key] = f[2]; want[key] == "-" {
				got[key] = "-"
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: unexpected list (-want +got): %s", form, diff)
		}
	}
}

// newStore returns the path of a new store. If possible, it is in memory, because an import waits
// for the disk after each file.
func newStore(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "layoutproxy")
	if err != nil {
		return filepath.Join(t.TempDir(), "store")
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "store")
}

// ends runs the program to its end and returns its output. It fails the test if the exit status is
// not 0, or if list writes to standard error.
func ends(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if status := run(t.Context(), args, &stdout, &stderr); status != exit.Done || stderr.Len() > 0 && args[0] == "list" {
		t.Fatalf("layoutproxy %q ended with status %d, want 0; standard error: %s", args, status, &stderr)
	}
	return stdout.String()
}

// expected reads a file with repository, tag and digest per line, and returns the digests. The
// digest of a discovery tag is "-".
func expected(t *testing.T, file string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for line := range strings.Lines(string(data)) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		want[f[0]+":"+f[1]] = f[2]
	}
	if len(want) == 0 {
		t.Fatalf("%s is empty, want at least one line", file)
	}
	return want
}

// pulled requests every tag of every repository from a registry, and returns the digests. It
// returns "-" for a tag whose digest in want is "-".
func pulled(t *testing.T, address string, want map[string]string) map[string]string {
	t.Helper()
	registry, err := name.NewRegistry(address, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	repos, err := remote.Catalog(t.Context(), registry)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, repo := range repos {
		tags, err := remote.List(registry.Repo(repo))
		if err != nil {
			t.Fatal(err)
		}
		for _, tag := range tags {
			desc, err := remote.Get(registry.Repo(repo).Tag(tag))
			if err != nil {
				t.Fatal(err)
			}
			key := repo + ":" + tag
			if got[key] = desc.Digest.String(); want[key] == "-" {
				got[key] = "-"
			}
		}
	}
	return got
}

// unpackEach unpacks every archive in dir into its own directory.
func unpackEach(t *testing.T, dir string) (dirs []string) {
	t.Helper()
	archives, err := filepath.Glob(filepath.Join(dir, "*.tar"))
	if err != nil || len(archives) == 0 {
		t.Fatalf("found no archives in %s (error: %v), want at least one", dir, err)
	}
	for _, a := range archives {
		to := t.TempDir()
		if err := unpack(a, to); err != nil {
			t.Fatalf("unpacking %s: got the error %v, want none", a, err)
		}
		dirs = append(dirs, to)
	}
	return dirs
}

func unpack(archive, to string) error {
	data, err := os.ReadFile(archive)
	if err != nil {
		return err
	}
	for r := tar.NewReader(bytes.NewReader(data)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !filepath.IsLocal(h.Name) {
			return fmt.Errorf("entry %q: want a path inside the directory", h.Name)
		}
		file := filepath.Join(to, h.Name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		body, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, body, 0o644); err != nil {
			return err
		}
	}
}
