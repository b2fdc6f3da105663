//go:build full

package acceptance

import (
	"strings"
	"testing"
)

func TestAirGapWithContainerd(t *testing.T) {
	packaged(t, "containerd")
	out, status := newAirGap(t).run(t, "", program, "--with-containerd")
	if status != 0 || !strings.Contains(out, "has crossed the air gap") || !strings.Contains(out, "complete (2/2)") {
		t.Fatalf("the script failed (exit status %d), or its output is incomplete:\n%s", status, out)
	}
}
