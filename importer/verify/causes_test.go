package verify

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/layoutstore"
	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// keepAll returns the causes and the number of affected tags that a report should have. It keeps all
// problems in memory.
func keepAll(problems []layoutstore.Problem, limit int) (causes []Cause, tags int) {
	all := map[causeKey][]layoutstore.Problem{}
	affected := map[tag]bool{}
	for _, g := range problems {
		key := causeKey{g.Kind, g.Path, g.Reason}
		all[key] = append(all[key], g)
		for _, t := range g.Tags {
			affected[tag{g.Repository, t}] = true
		}
	}
	for key, problems := range all {
		c := Cause{Kind: key.kind, Path: key.path, Reason: key.reason, Count: len(problems), Problems: problems}
		tags, repositories := map[tag]bool{}, map[string]bool{}
		for _, g := range problems {
			for _, t := range g.Tags {
				tags[tag{g.Repository, t}], repositories[g.Repository] = true, true
			}
		}
		c.Tags, c.Repositories = len(tags), len(repositories)
		slices.SortFunc(c.Problems, problem.Compare)
		causes = append(causes, c)
	}
	slices.SortFunc(causes, func(a, b Cause) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Reason, b.Reason))
	})
	for i := range causes {
		causes[i].Problems = causes[i].Problems[:min(limit, len(causes[i].Problems))]
		limit -= len(causes[i].Problems)
	}
	return slices.DeleteFunc(causes, func(c Cause) bool { return len(c.Problems) == 0 }), len(affected)
}

// A report lists the first problems and counts all problems, regardless of the order in which they are added.
func TestReportsListTheFirstProblems(t *testing.T) {
	const limit = 6
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 0))
		shared := [][]string{{}, {"a"}, {"a", "b"}, {"c"}, make([]string, 20)}
		for i := range shared[4] {
			shared[4][i] = fmt.Sprintf("long%02d", i)
		}
		reasons := 1 + random.IntN(12)
		problems := make([]layoutstore.Problem, random.IntN(60))
		for i := range problems {
			problems[i] = layoutstore.Problem{Kind: layoutstore.Damaged, Path: fmt.Sprint(random.IntN(3)), Entry: fmt.Sprintf("%02d", i),
				Repository: fmt.Sprint(random.IntN(2)), Tags: shared[random.IntN(len(shared))], Reason: fmt.Sprint(random.IntN(reasons))}
		}
		f := newCauses(nil)
		f.first.limit = limit
		held := 0
		for _, g := range problems {
			f.add(g)
			held = max(held, len(f.first.items), len(f.tallies))
		}
		r := newReport()
		f.report(r)
		want, affected := keepAll(problems, limit)
		if diff := gocmp.Diff(want, r.Causes[:len(r.Causes):len(r.Causes)]); diff != "" && len(want)+len(r.Causes) > 0 {
			t.Fatalf("seed %d:\n%s", seed, diff)
		}
		if omitted := max(len(problems)-limit, 0); r.TagsAffected != affected || r.Omitted.Problems != omitted {
			t.Fatalf("seed %d: affected tags = %d, omitted problems = %d; want %d and %d", seed, r.TagsAffected, r.Omitted.Problems, affected, omitted)
		}
		if held > 2*limit {
			t.Fatalf("seed %d: up to %d problems or causes were in memory, want at most %d", seed, held, 2*limit)
		}
	}
}
