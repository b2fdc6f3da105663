package problem_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// Causes returns one cause for all problems with the same reason, with their number and the first tags.
func TestCausesGroupProblems(t *testing.T) {
	lost := func(repository string, tags ...string) problem.Problem {
		return problem.Problem{Kind: problem.Incomplete, Path: "/in/a.tar", Reason: "not there", Chunks: []string{"chunk 0003"}, Repository: repository, Tags: tags}
	}
	clash := problem.Problem{Kind: problem.Conflict, Path: "/in", Reason: "two digests", MoreTags: 2}
	named := problem.Problem{Kind: problem.Damaged, Path: "/in/b.tar", Reason: "copy chunk 0001 again", Chunks: []string{"chunk 0001"}}
	odd := problem.Problem{Kind: problem.Damaged, Path: "/in/a\nb.tar", Reason: "in the entry a\nb"}
	all := problem.Causes([]problem.Problem{lost("one", "a", "b", "c"), clash, lost("two", "d", "e", "f", "g"), named, odd})
	type line struct {
		Text  string
		Count int
		Names []string
		More  int
	}
	var got []line
	for _, c := range all {
		got = append(got, line{c.String(), c.Count, c.Names, c.More})
	}
	want := []line{
		{"incomplete: /in/a.tar: not there: copy chunk 0003 again", 2, []string{"one:a", "one:b", "one:c", "two:d", "two:e"}, 2},
		{"conflict: /in: two digests", 1, nil, 2},
		{"damaged: /in/b.tar: copy chunk 0001 again", 1, nil, 0},
		{`damaged: "/in/a\nb.tar": "in the entry a\nb"`, 1, nil, 0},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
