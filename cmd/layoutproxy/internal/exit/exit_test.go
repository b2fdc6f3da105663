package exit_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/layoutproxy/layoutproxy/cmd/layoutproxy/internal/exit"
)

func TestStatusAndHintOfErrors(t *testing.T) {
	failed := errors.New("failed")
	for name, test := range map[string]struct {
		err  error
		want int
		hint string
	}{
		"none":                                {nil, exit.Done, ""},
		"other error":                         {failed, exit.Failed, ""},
		"hint alone":                          {exit.WithHint(failed, "mount it"), exit.Failed, "mount it"},
		"usage with a hint":                   {exit.UsageError(exit.WithHint(failed, "name it")), exit.Usage, "name it"},
		"content with a hint":                 {exit.WithHint(exit.ContentError(failed), "copy it"), exit.Content, "copy it"},
		"interrupted":                         {exit.InterruptedError(failed), exit.Interrupted, ""},
		"wrapped":                             {fmt.Errorf("at: %w", exit.ContentError(failed)), exit.Content, ""},
		"usage takes precedence over content": {exit.ContentError(exit.UsageError(failed)), exit.Usage, ""},
		"content takes precedence over interrupted": {exit.InterruptedError(exit.ContentError(failed)), exit.Content, ""},
		"content joined after interrupted":          {errors.Join(exit.InterruptedError(failed), exit.ContentError(failed)), exit.Content, ""},
	} {
		if got := exit.Status(test.err); got != test.want {
			t.Errorf("%s: status %d, want %d", name, got, test.want)
		}
		if got := exit.Hint(test.err); got != test.hint {
			t.Errorf("%s: hint %q, want %q", name, got, test.hint)
		}
		if test.err != nil && !errors.Is(test.err, failed) {
			t.Errorf("%s: the chain of %v does not contain %v, want the original error", name, test.err, failed)
		}
	}
}
