package push

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// task is a step of a push. It runs after all tasks that it waits for.
type task struct {
	run   func(context.Context) error
	waits int
	then  []*task
}

// after makes t wait for other tasks. Nil tasks count as done.
func (t *task) after(others ...*task) {
	for _, o := range others {
		if o != nil {
			o.then = append(o.then, t)
			t.waits++
		}
	}
}

// perform runs tasks, at most jobs at the same time. It starts them in the order of the list,
// except tasks that still have to wait. The first error stops all tasks.
func perform(ctx context.Context, jobs int, tasks []*task) error {
	group, ctx := errgroup.WithContext(ctx)
	ready := make(chan *task, len(tasks))
	done := make(chan *task, len(tasks))
	for _, t := range tasks {
		if t.waits == 0 {
			ready <- t
		}
	}
	for range jobs {
		group.Go(func() error {
			for t := range ready {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := t.run(ctx); err != nil {
					return err
				}
				done <- t
			}
			return nil
		})
	}
	group.Go(func() error {
		defer close(ready)
		for range tasks {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case t := <-done:
				for _, next := range t.then {
					if next.waits--; next.waits == 0 {
						ready <- next
					}
				}
			}
		}
		return nil
	})
	return group.Wait()
}
