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
)

// TestParity serves a bundle that the field's own tools wrote, and compares it
// with what their push made of it in a registry, line by line.
func TestParity(t *testing.T) {
	sources := unpackEach(t, "testdata/d8")
	want := expected(t, "testdata/d8/expected.tsv")
	reversed := slices.Clone(sources)
	slices.Reverse(reversed)
	rotated := append(slices.Clone(sources[3:]), sources[:3]...)
	for order, sources := range map[string][]string{"by name": sources, "reversed": reversed, "rotated": rotated} {
		t.Run(order, func(t *testing.T) {
			p := start(t, append([]string{"--strict"}, sources...)...)
			if diff := cmp.Diff(want, pulled(t, p.addresses["registry"], want)); diff != "" {
				t.Error(diff)
			}
			p.signal(t, os.Interrupt)
			if err := <-p.ended; err != nil {
				t.Error(err)
			}
		})
	}
}

// expected reads repository, tag and digest of each line; the digest of a
// discovery tag is "-".
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
		t.Fatalf("%s says nothing", file)
	}
	return want
}

// pulled asks a registry for every tag of every repository. Where want has no
// digest for one, that it can be had is enough.
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

// unpackEach unpacks every archive of dir into a directory of its own.
func unpackEach(t *testing.T, dir string) (dirs []string) {
	t.Helper()
	archives, err := filepath.Glob(filepath.Join(dir, "*.tar"))
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives in %s: %v", dir, err)
	}
	for _, a := range archives {
		to := t.TempDir()
		if err := unpack(a, to); err != nil {
			t.Fatalf("%s: %v", a, err)
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
			return fmt.Errorf("entry %q", h.Name)
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
