package prune_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/layoutproxy/layoutproxy/importer/importertest"
	"github.com/layoutproxy/layoutproxy/importer/prune"
	"github.com/layoutproxy/layoutproxy/importer/publish"
	"github.com/layoutproxy/layoutproxy/layoutstore/journal"
)

// A prune that is refused for any reason does not change the store. This holds for Plan, Run and Execute.
func TestRefusedPruneChangesNothing(t *testing.T) {
	store := newStore(t, 1)
	request := prune.Request{Policy: prune.Policy{KeepNewest: 1}}
	later := func() time.Time { return time.Now().Add(24 * time.Hour) }
	free, err := prune.New(prune.Options{Store: store, Now: later})
	importertest.Must(t, err)
	plan, err := free.Plan(t.Context(), request)
	importertest.Must(t, err)
	old := plan
	old.Generation--
	lock := func(t *testing.T) {
		s, err := publish.Open(t.Context(), publish.Options{Dir: store})
		importertest.Must(t, err)
		t.Cleanup(func() { s.Close() })
	}
	for name, test := range map[string]struct {
		check func(prune.Effect) error
		lock  func(*testing.T)
		plan  prune.Plan
		want  map[string]error // wanted errors; the keys are "plan", "run" and "execute"
	}{
		"a release would be less ready": {
			check: func(prune.Effect) error { return fmt.Errorf("%w: v1.70.1", prune.ErrNotReady) }, plan: plan,
			want: map[string]error{"plan": prune.ErrNotReady, "run": prune.ErrNotReady, "execute": prune.ErrNotReady},
		},
		"another process has the lock": {
			lock: lock, plan: plan,
			want: map[string]error{"plan": prune.ErrLocked, "run": prune.ErrLocked, "execute": prune.ErrLocked},
		},
		"a plan for an older generation": {plan: old, want: map[string]error{"execute": prune.ErrMoved}},
	} {
		t.Run(name, func(t *testing.T) {
			if test.lock != nil {
				test.lock(t)
			}
			p, err := prune.New(prune.Options{Store: store, Now: later, Check: test.check})
			importertest.Must(t, err)
			content, state := importertest.MustContent(t, store), stateOf(t, store)
			for how, want := range test.want {
				switch how {
				case "plan":
					_, err = p.Plan(t.Context(), request)
				case "run":
					_, err = p.Run(t.Context(), request)
				case "execute":
					_, err = p.Execute(t.Context(), test.plan)
				}
				if !errors.Is(err, want) {
					t.Errorf("%s: got error %v, want %v", how, err, want)
				}
			}
			if diff := cmp.Diff(content, importertest.MustContent(t, store)); diff != "" {
				t.Errorf("the refused prune changed the content, want it unchanged (-before +after):\n%s", diff)
			}
			if diff := cmp.Diff(state, stateOf(t, store)); diff != "" {
				t.Errorf("the refused prune changed the state, want it unchanged (-before +after):\n%s", diff)
			}
		})
	}
	if _, err := free.Execute(t.Context(), plan); err != nil { // without these obstacles, the plan succeeds
		t.Error(err)
	}
}

func stateOf(t *testing.T, store string) journal.State {
	t.Helper()
	s, err := journal.ReadState(store)
	importertest.Must(t, err)
	return s
}
