package wait_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/layoutproxy/layoutproxy/layoutstore/wait"
)

var errEnough = errors.New("enough")

func endedContext() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errEnough)
	return ctx
}

func TestForReturnsWhenContextEnds(t *testing.T) {
	if v, err := wait.For(t.Context(), func() (int, error) { return 1, errEnough }, nil); v != 1 || !errors.Is(err, errEnough) {
		t.Errorf("For with a call that returns at once: got %d and the error %v, want the results of the call", v, err)
	}
	release, late := make(chan struct{}), make(chan int)
	v, err := wait.For(endedContext(), func() (int, error) { <-release; return 2, nil }, func(v int) { late <- v })
	if v != 0 || !errors.Is(err, errEnough) {
		t.Errorf("For with a call that hangs: got %d and the error %v, want 0 and the cause of the context", v, err)
	}
	close(release)
	if v := <-late; v != 2 {
		t.Errorf("late was called with %d, want 2", v)
	}
}

func TestFlightSharesCall(t *testing.T) {
	var f wait.Flight[int]
	var runs int
	started, release := make(chan struct{}), make(chan struct{})
	do := func(context.Context) (int, error) {
		runs++
		close(started)
		<-release
		return runs, nil
	}
	var all sync.WaitGroup
	results := make([]int, 4)
	all.Go(func() { results[0], _ = f.Do(t.Context(), do) })
	<-started
	// If the context of one caller ends, that caller leaves. The call continues for the others.
	if _, err := f.Do(endedContext(), do); !errors.Is(err, errEnough) {
		t.Error(err)
	}
	for i := range results[1:] {
		all.Go(func() { results[i+1], _ = f.Do(t.Context(), func(context.Context) (int, error) { return 1, nil }) })
	}
	close(release)
	all.Wait()
	for i, v := range results {
		if v != 1 {
			t.Errorf("caller %d: got the result %d, want 1", i, v)
		}
	}
}

// If a call hangs after all callers have left, the next caller waits until that call returns. Only
// then does this caller start a new call.
func TestFlightAfterCancelledCall(t *testing.T) {
	var f wait.Flight[string]
	started, release := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-started
		cancel()
	}()
	if _, err := f.Do(ctx, func(own context.Context) (string, error) {
		close(started)
		// All callers have left.
		<-own.Done()
		// The call hangs until the test closes release.
		<-release
		return "old", nil
	}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := f.Do(endedContext(), func(context.Context) (string, error) {
		t.Error("a second call was started while the first was running, want it to wait")
		return "", nil
	}); !errors.Is(err, errEnough) {
		t.Fatal(err)
	}
	close(release)
	if v, err := f.Do(t.Context(), func(context.Context) (string, error) { return "new", nil }); v != "new" || err != nil {
		t.Errorf("Do after the first call has returned: got %q and the error %v, want new and none", v, err)
	}
}
