package release

import (
	"strings"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/layouttest"
)

// ParseSelectors accepts a name several times: without a constraint, with ranges, and with exact tags.
func TestParseSelectors(t *testing.T) {
	all, err := ParseSelectors([]string{" a", "b@~1.2", "c@=v1", "b@=v3", "b @^2", "d@=v1", "d"})
	layouttest.Try(t, err)
	for name, want := range map[string]struct {
		text         string
		all          bool
		ranges, pins int
		pinned       bool
	}{
		"a": {"a", true, 0, 0, false},
		"b": {"b@~1.2, b@^2, b@=v3", false, 2, 1, false},
		"c": {"c@=v1", false, 0, 1, true},
		"d": {"d@=v1", true, 0, 1, false},
	} {
		s := all[name]
		if s.Name != name || s.String() != want.text || s.All != want.all || len(s.Ranges) != want.ranges || len(s.Pins) != want.pins || s.IsPinned() != want.pinned {
			t.Errorf("selector for %s: name %q, text %q, All %v, %d ranges, %d pins, IsPinned %v; want %+v", name, s.Name, s.String(), s.All, len(s.Ranges), len(s.Pins), s.IsPinned(), want)
		}
	}
	if len(all) != 4 || (Selector{Name: "e"}).IsPinned() {
		t.Errorf("%v", all)
	}
	for _, bad := range []string{"", "A", "a/b", "@~1", "a@", "a@newest"} {
		if all, err := ParseSelectors([]string{"good", bad}); err == nil || all != nil || !strings.Contains(err.Error(), `"`) {
			t.Errorf("ParseSelectors(good, %q) = %v, error %v; want nil, and an error that quotes the malformed selector", bad, all, err)
		}
	}
}

func TestSortTags(t *testing.T) {
	tags := []string{"v1.10.0", "v1.9.0", "main", "1.9.0", "alpha", "main", "v2.0.0-rc.1"}
	if got, want := strings.Join(SortTags(tags), " "), "alpha main v1.9.0 v1.10.0 v2.0.0-rc.1"; got != want {
		t.Errorf("SortTags = %s, want %s", got, want)
	}
	if got := Tags(Stable(tags)); got != "v1.9.0, v1.10.0" {
		t.Errorf("stable: %s", got)
	}
	if got := Tags(nil); got != "none" {
		t.Errorf("Tags(nil) = %q, want the text \"none\"", got)
	}
}
