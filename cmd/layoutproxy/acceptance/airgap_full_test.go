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
		t.Fatalf("examples/air-gap ended with exit status %d; want exit status 0, \"has crossed the air gap\" and \"complete (2/2)\":\n%s", status, out)
	}
}
