package release

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// If an installer has a list of tags and a list of digests, ParseInstaller uses the tags. If it has neither,
// it returns an error.
func TestParseInstaller(t *testing.T) {
	d := "sha256:" + strings.Repeat("0a", 32)
	digests, tags := []byte(`{"common":{"pause":"`+d+`"}}`), []byte(`{"common":{"pause":"old-tag"}}`)
	for name, test := range map[string]struct {
		files map[string][]byte
		want  []Image
		err   string
	}{
		"digests": {map[string][]byte{InstallerDigests: digests}, []Image{{"common/pause", d}}, ""},
		"tags":    {map[string][]byte{InstallerTags: tags}, []Image{{"common/pause", "old-tag"}}, ""},
		"both":    {map[string][]byte{InstallerTags: tags, InstallerDigests: digests}, []Image{{"common/pause", "old-tag"}}, ""},
		"bad":     {map[string][]byte{InstallerTags: []byte("x"), InstallerDigests: digests}, nil, InstallerTags + ": invalid"},
	} {
		got, err := ParseInstaller(test.files)
		if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if _, err := ParseInstaller(nil); !errors.Is(err, ErrNothingDeclared) {
		t.Error(err)
	}
}

// The requirement migratedModules is a list of names that are separated by commas. The example comes from the
// tests of deckhouse/deckhouse.
func TestParseRequirements(t *testing.T) {
	r, err := ParseRequirements([]byte(`{"version":"v1.70.0","requirements":{"k8s":"1.27","migratedModules":"b-module, a-module,, b-module","flag":""}}`))
	layouttest.Try(t, err)
	if diff := cmp.Diff([]string{"a-module", "b-module"}, r.Modules()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"flag", "k8s 1.27"}, r.OfCluster()); diff != "" {
		t.Error(diff)
	}
	if r, err := ParseRequirements([]byte(`{}`)); err != nil || r.Modules() != nil || r.OfCluster() != nil {
		t.Error(r, err)
	}
	for file, want := range map[string]string{"": "no version.json", "[": "version.json: ", `{"requirements":{"k8s":7}}`: "version.json: "} {
		var data []byte
		if file != "" {
			data = []byte(file)
		}
		if _, err := ParseRequirements(data); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", file, err)
		}
	}
}

func FuzzRequirements(f *testing.F) {
	f.Add([]byte(`{"requirements":{"migratedModules":"a, b","k8s":"1.29"}}`))
	f.Add([]byte(`{"requirements":{"migratedModules":7,"k8s":"1.29"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseRequirements(data)
		if err != nil && r != nil {
			t.Fatal(r, err)
		}
		if names := r.Modules(); !slices.IsSorted(names) || slices.Contains(names, "") {
			t.Fatalf("%q", names)
		}
		if all := r.OfCluster(); !slices.IsSorted(all) {
			t.Fatalf("%q", all)
		}
	})
}

func FuzzInstaller(f *testing.F) {
	f.Add([]byte(`{"m":{"a":"t"}}`), []byte(nil))
	f.Add([]byte(nil), []byte(`{"m":{"a":"sha256:`+strings.Repeat("0a", 32)+`"}}`))
	f.Fuzz(func(t *testing.T, tags, digests []byte) {
		images, err := ParseInstaller(map[string][]byte{InstallerTags: tags, InstallerDigests: digests})
		if err != nil && images != nil || err == nil && !slices.IsSortedFunc(images, func(a, b Image) int { return strings.Compare(a.Name, b.Name) }) {
			t.Fatal(images, err)
		}
	})
}
