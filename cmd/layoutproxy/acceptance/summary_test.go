package acceptance

import (
	"bytes"
	"context"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// summary is the summary that the conformance suite prints.
type summary struct {
	output string            // all of it
	result string            // of "OCI Conformance Result"
	counts map[string]int    // tests by status: Pass, Skip, FAIL, Error, Disabled
	states map[string]string // of each API and each kind of data
}

// entry matches a line such as "  Blob get range................:       Pass".
var entry = regexp.MustCompile(`^  ([^.:]+)\.*: +(\S+)$`)

// conformance runs the suite. It ignores the exit status: this version of the suite returns 0
// for a wrong configuration, and in read-only mode it panics after the summary.
func conformance(t *testing.T, registry string, settings ...string) summary {
	t.Helper()
	suite := tool(t, "conformance")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, suite)
	cmd.Dir = t.TempDir() // without a configuration file
	cmd.Env = append(bareEnv(cmd.Dir),
		"OCI_REGISTRY="+registry, "OCI_TLS=disabled", "OCI_RESULTS_DIR="+cmd.Dir)
	cmd.Env = append(cmd.Env, settings...)
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("conformance suite: %v\n%s", ctx.Err(), &stderr)
	}
	s := parseSummary(stdout.String())
	if s.result == "" {
		t.Fatalf("conformance suite without a result: %v\n%s%s", err, &stdout, &stderr)
	}
	return s
}

// checkComplete fails the test if a test of the suite failed or was skipped.
func (s summary) checkComplete(t *testing.T) {
	t.Helper()
	if passed := s.counts["Pass"]; s.result != "Pass" || passed != s.counts["Total"] || passed < 1000 {
		t.Errorf("result %s: %v\n%s", s.result, s.counts, s.output)
	}
}

func parseSummary(output string) summary {
	s := summary{output: output, counts: map[string]int{}, states: map[string]string{}}
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, "\n")
		if result, ok := strings.CutPrefix(line, "OCI Conformance Result: "); ok {
			s.result = result
			continue
		}
		m := entry.FindStringSubmatch(line)
		if s.result == "" || m == nil {
			continue // the tree of tests, above the summary
		}
		if n, err := strconv.Atoi(m[2]); err == nil {
			s.counts[m[1]] = n
		} else {
			s.states[m[1]] = m[2]
		}
	}
	return s
}
