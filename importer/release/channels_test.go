package release

import (
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// ParseChannel takes the tag of a channel from its version.json.
func TestParseChannel(t *testing.T) {
	for file, want := range map[string]Channel{
		`{"version":"v1.69.3"}`:               {Tag: "v1.69.3"},
		`{"version":"1.69.3","suspend":true}`: {Tag: "v1.69.3", Suspended: true},
		`{"version":"main"}`:                  {Tag: "main"},
	} {
		got, err := ParseChannel("stable", []byte(file))
		layouttest.Try(t, err)
		_, isVersion := Parse(want.Tag)
		if got.Name != "stable" || got.Tag != want.Tag || got.Suspended != want.Suspended || (got.Release.Version != nil) != isVersion {
			t.Errorf("%s: %+v", file, got)
		}
	}
	for file, want := range map[string]string{"": "no version.json", "v1.0.0": "invalid character", "{}": "has no version", `{"version":7}`: "version.json: ", `{"version":"v1 0"}`: `the version "v1 0" is not a tag`} {
		var data []byte
		if file != "" {
			data = []byte(file)
		}
		if _, err := ParseChannel("stable", data); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseChannel(stable, %q): got error %v, want one that contains %q", file, err, want)
		}
	}
}

// For any file, ParseChannel returns either a channel with a tag or an error.
func FuzzChannel(f *testing.F) {
	f.Add([]byte(`{"version":"v1.0.0","suspend":true}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseChannel("alpha", data)
		if (err == nil) == (c.Tag == "") {
			t.Fatalf("%+v, %v", c, err)
		}
	})
}
