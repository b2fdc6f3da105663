package inventory_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/layoutproxy/layoutproxy/layoutstore/inventory"
	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
	"github.com/layoutproxy/layoutproxy/layoutstore/names"
	"github.com/layoutproxy/layoutproxy/layoutstore/volume"
)

func blob(content string) inventory.Blob {
	return inventory.Blob{Digest: digest.FromString(content), Size: int64(len(content))}
}

// sample returns an inventory with a value in every field except Key and Bases.
func sample(t *testing.T) *inventory.Inventory {
	t.Helper()
	var b inventory.Builder
	b.AddFile(inventory.File{Name: "platform.tar.0001.chunk", Size: 5})
	b.AddFile(inventory.File{Name: "platform.tar.0000.chunk", Size: 10, SHA256: digest.FromString("x").Encoded()})
	b.AddFile(inventory.File{Name: "deckhousereleases.yaml", Size: 0})
	b.AddRepository("release-channel")
	b.AddTag("install", "v1", blob("one"))
	b.AddTag("install", "stable", blob("one"))
	b.AddTag(".", "v1", blob("root"))
	b.AddUntagged("install", blob("nameless"))
	b.AddBlob(blob("layer"))
	i, err := b.Build("layoutproxy test")
	layouttest.Try(t, err)
	return i
}

func encode(t *testing.T, i *inventory.Inventory) []byte {
	t.Helper()
	data, err := i.Encode()
	layouttest.Try(t, err)
	return data
}

func TestParseReadsWhatEncodeWrites(t *testing.T) {
	want := sample(t)
	data := encode(t, want)
	got, err := inventory.Parse(data)
	layouttest.Try(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if again := encode(t, got); !bytes.Equal(data, again) {
		t.Errorf("Encode after Parse returns other bytes. Want:\n%s\nGot:\n%s", data, again)
	}
	if r, ok := got.Repository("install"); !ok || !slices.Equal(r.Untagged, []inventory.Blob{blob("nameless")}) {
		t.Errorf("Repository(install): got %v, want one untagged manifest, nameless", r)
	} else if tag, ok := r.Tag("stable"); !ok || tag.Digest != blob("one").Digest {
		t.Errorf("Tag(stable) of install: got %v, want the manifest one", tag)
	}
	if size, ok := got.Blob(blob("layer").Digest); !ok || size != 5 {
		t.Errorf("Blob(layer) = %d, %v; want 5, true", size, ok)
	}
	if _, ok := got.Repository("modules"); ok {
		t.Error("Repository(modules): got a repository, want none")
	}
}

// The id of a bundle depends on its content, but not on files, the program or bases.
func TestIDDependsOnlyOnContent(t *testing.T) {
	a := sample(t)
	b := *a
	b.Files, b.Program, b.Bases = nil, "another", []digest.Digest{a.Bundle}
	if a.ID() != b.ID() {
		t.Error("ID() with other files, program and bases: got a different id, want the same one")
	}
	b.Blobs = b.Blobs[1:]
	if a.ID() == b.ID() {
		t.Error("ID() after a blob was removed: got the same id, want a different one")
	}
}

// If a tag is added twice, the last manifest gets the tag. The earlier manifest is listed as
// untagged.
func TestBuilderKeepsReplacedManifests(t *testing.T) {
	var b inventory.Builder
	b.AddTag("app", "v1", blob("old"))
	b.AddTag("app", "v1", blob("new"))
	b.AddUntagged("app", blob("new")) // this manifest also has a tag
	i, err := b.Build("test")
	layouttest.Try(t, err)
	want := []inventory.Repository{{Path: "app", Tags: []inventory.Tag{{Name: "v1", Digest: blob("new").Digest, Size: 3}}, Untagged: []inventory.Blob{blob("old")}}}
	if diff := cmp.Diff(want, i.Repositories); diff != "" {
		t.Error(diff)
	}
}

// Parse refuses a field that is repeated, missing, null, unknown or spelled in another case.
func TestParseRefusesOtherFields(t *testing.T) {
	data := string(encode(t, sample(t)))
	fields := 0
	for _, name := range []string{"formatVersion", "bundle", "bases", "program", "files", "name", "size", "sha256", "repositories", "path", "tags", "tag", "digest", "untagged", "blobs"} {
		for from := 0; ; fields++ {
			n := strings.Index(data[from:], fmt.Sprintf("%q:", name))
			if n < 0 {
				break
			}
			at := from + n
			end := valueEnd(t, data, at+len(name)+3)
			from = at + 1
			field, value := data[at:end], data[at+len(name)+3:end]
			changed := map[string]string{
				"twice":      data[:at] + field + "," + data[at:],
				"null":       data[:at] + fmt.Sprintf("%q:null", name) + data[end:],
				"other case": data[:at] + fmt.Sprintf("%q:%s", strings.ToUpper(name), value) + data[end:],
				"unknown":    data[:at] + `"more":1,` + data[at:],
			}
			for what, text := range changed {
				if _, err := inventory.Parse([]byte(text)); !errors.Is(err, inventory.ErrFormat) {
					t.Fatalf("Parse, field %s changed (%s): got error %v, want ErrFormat", name, what, err)
				}
			}
		}
	}
	if fields < 40 {
		t.Errorf("the test found only %d fields, want at least 40", fields)
	}
}

// valueEnd returns the offset after the JSON value that begins at the offset at.
func valueEnd(t *testing.T, data string, at int) int {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(data[at:]))
	var raw json.RawMessage
	layouttest.Try(t, d.Decode(&raw))
	return at + int(d.InputOffset())
}

func TestParseRefusesInvalidValues(t *testing.T) {
	good := string(encode(t, sample(t)))
	for what, change := range map[string][2]string{
		"another version":                        {`"formatVersion":1`, `"formatVersion":2`},
		"a fraction":                             {`"formatVersion":1`, `"formatVersion":1.5`},
		"no version":                             {`"formatVersion":1,`, ``},
		"a negative size":                        {`"name":"deckhousereleases.yaml","size":0`, `"name":"deckhousereleases.yaml","size":-1`},
		"a huge size":                            {`"name":"deckhousereleases.yaml","size":0`, `"name":"deckhousereleases.yaml","size":9223372036854775808`},
		"a name that leads out of the directory": {`deckhousereleases.yaml`, `../releases.yaml`},
		"an absolute name":                       {`deckhousereleases.yaml`, `/releases.yaml`},
		"a name that is not clean":               {`deckhousereleases.yaml`, `a/./releases.yaml`},
		"a backslash":                            {`deckhousereleases.yaml`, `a\\..\\releases.yaml`},
		"a control character":                    {`deckhousereleases.yaml`, `deckhouse\nreleases.yaml`},
		"a hidden name":                          {`deckhousereleases.yaml`, `.releases.yaml`},
		"a hidden directory":                     {`deckhousereleases.yaml`, `a/.b/releases.yaml`},
		"itself":                                 {`deckhousereleases.yaml`, `bundle.json`},
		"its signature":                          {`deckhousereleases.yaml`, `bundle.json.sig`},
		"unsorted files":                         {`deckhousereleases.yaml`, `z.yaml`},
		"a file twice":                           {`platform.tar.0001.chunk`, `platform.tar.0000.chunk`},
		"an illegal path":                        {`"path":"install"`, `"path":"Install"`},
		"an illegal tag":                         {`"tag":"stable"`, `"tag":"-stable"`},
		"a tag twice":                            {`"tag":"stable"`, `"tag":"v1"`},
		"another tag":                            {`"tag":"stable"`, `"tag":"sable"`}, // the id no longer matches
		"a manifest that is not listed":          {blob("root").Digest.String(), blob("other").Digest.String()},
		"an illegal digest":                      {blob("layer").Digest.String(), "sha256:" + strings.Repeat("g", 64)},
		"an upper-case digest":                   {blob("layer").Digest.String(), "sha256:" + strings.ToUpper(blob("layer").Digest.Encoded())},
		"a short checksum":                       {digest.FromString("x").Encoded(), "abcd"},
		"an upper-case checksum":                 {digest.FromString("x").Encoded(), strings.ToUpper(digest.FromString("x").Encoded())},
		"data after the inventory":               {"\n}\n", "\n}\n{}"},
		"an illegal base":                        {`"bases":[]`, `"bases":["sha512:1"]`},
		"no object":                              {good, `[]`},
		"nothing":                                {good, ``},
		"not UTF-8":                              {`layoutproxy test`, "layoutproxy\xff"},
		"an illegal key":                         {`"program":`, `"key":"x","program":`},
	} {
		bad := strings.Replace(good, change[0], change[1], 1)
		if bad == good {
			t.Errorf("%s: the test did not change the inventory", what)
		}
		if i, err := inventory.Parse([]byte(bad)); !errors.Is(err, inventory.ErrFormat) {
			t.Errorf("Parse, %s: got %v and error %v, want ErrFormat", what, i, err)
		}
	}
	if _, err := inventory.Parse([]byte(strings.ReplaceAll(good, "\n", "\r\n"))); err != nil {
		t.Errorf("Parse(inventory with different white space): got error %v, want none", err)
	}
}

// Encode fails if Parse would refuse the inventory.
func TestEncodeRefusesInvalidInventories(t *testing.T) {
	for what, change := range map[string]func(*inventory.Inventory){
		"version": func(i *inventory.Inventory) { i.FormatVersion = 2 },
		"id":      func(i *inventory.Inventory) { i.Bundle = digest.FromString("x") },
		"name":    func(i *inventory.Inventory) { i.Files[0].Name = "../x" },
		"order":   func(i *inventory.Inventory) { slices.Reverse(i.Files) },
		"program": func(i *inventory.Inventory) { i.Program = "a\x00b" },
	} {
		i := sample(t)
		change(i)
		if _, err := i.Encode(); err == nil {
			t.Errorf("Encode, invalid %s: got no error, want one", what)
		}
	}
}

// FuzzParse checks that all inventories that Parse accepts are valid. They must not change when
// they are encoded and parsed again.
func FuzzParse(f *testing.F) {
	var b inventory.Builder
	b.AddFile(inventory.File{Name: "a.tar", Size: 3})
	b.AddTag("app", "v1", blob("one"))
	i, err := b.Build("fuzz")
	if err != nil {
		f.Fatal(err)
	}
	data, err := i.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"formatVersion":1}`))
	f.Add(bytes.Replace(data, []byte("a.tar"), []byte("../a.tar"), 1))
	f.Add(bytes.Replace(data, []byte(`"size":3`), []byte(`"size":-3`), 1))
	f.Add(bytes.Replace(data, []byte(`"bases":[]`), []byte(`"bases":[],"bases":[]`), 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		i, err := inventory.Parse(data)
		if err != nil {
			if !errors.Is(err, inventory.ErrFormat) {
				t.Fatal(err)
			}
			return
		}
		if i.FormatVersion != 1 || i.ID() != i.Bundle {
			t.Fatalf("Parse accepted %+v, want an error because of the version or the id", i)
		}
		for _, file := range i.Files {
			if file.Size < 0 || !filepath.IsLocal(file.Name) || strings.Contains(file.Name, `\`) {
				t.Fatalf("Parse accepted the file %+v, want an error", file)
			}
		}
		for _, b := range i.Blobs {
			if b.Size < 0 || b.Digest.Validate() != nil {
				t.Fatalf("Parse accepted the blob %+v, want an error", b)
			}
		}
		for _, r := range i.Repositories {
			for _, tag := range r.Tags {
				if !names.IsTag(tag.Name) {
					t.Fatalf("Parse accepted the tag %+v, want an error", tag)
				}
			}
		}
		again, err := i.Encode()
		if err != nil {
			t.Fatalf("Encode after Parse: got error %v, want none", err)
		}
		second, err := inventory.Parse(again)
		if err != nil || !cmp.Equal(i, second) {
			t.Fatalf("Parse after Encode: got the error %v and a difference (-first +second), want neither: %s", err, cmp.Diff(i, second))
		}
		var x, y any
		if json.Unmarshal(data, &x) != nil || json.Unmarshal(again, &y) != nil || !cmp.Equal(x, y) {
			t.Fatalf("Encode after Parse: the JSON differs (-original +encoded): %s", cmp.Diff(x, y))
		}
	})
}

// FuzzWrite checks that every inventory that can be encoded is the same after it was parsed again.
func FuzzWrite(f *testing.F) {
	f.Add("install", "v1", "platform.tar", int64(7), "layoutproxy 1.0")
	f.Add(".", "x", "a/index.json", int64(0), `"<>&`+"\u2028")
	f.Add("..", "", "../x", int64(-1), "\n")
	f.Fuzz(func(t *testing.T, path, tag, file string, size int64, program string) {
		var b inventory.Builder
		b.AddFile(inventory.File{Name: file, Size: size})
		b.AddTag(path, tag, inventory.Blob{Digest: digest.FromString(tag), Size: size})
		b.AddUntagged(path, blob(file))
		i, err := b.Build(program)
		if err != nil {
			return
		}
		data, err := i.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := inventory.Parse(data)
		if err != nil || !cmp.Equal(i, got) {
			t.Fatalf("Parse after Encode: got the error %v and a difference (-built +parsed), want neither: %s", err, cmp.Diff(i, got))
		}
	})
}

// FuzzArchiveNames checks that packages inventory and volume recognize the same archives.
func FuzzArchiveNames(f *testing.F) {
	for _, name := range []string{"a.tar", "a.tar.0000.chunk", "a.tar.12345.chunk", "a.tar.000.chunk", ".tar", "tar", "a.tar.0000.chunk.gostsum", "a.tar.0000.chunk.tar"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if strings.Contains(name, "/") {
			return
		}
		want, ok := volume.IsArchive(name)
		archives, others := inventory.Archives([]inventory.File{{Name: name}})
		switch {
		case ok && (len(archives) != 1 || archives[0].Name != want):
			t.Errorf("Archives(%q): got %v, want the archive %q", name, archives, want)
		case !ok && len(others) != 1:
			t.Errorf("Archives(%q): got %v, want no archive", name, archives)
		}
	})
}
