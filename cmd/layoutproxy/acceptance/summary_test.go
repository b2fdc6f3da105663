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

// summary contains the results that the conformance suite prints.
type summary struct {
	output string            // complete output of the suite
	result string            // text after "OCI Conformance Result: "
	counts map[string]int    // number of tests by status: Pass, Skip, FAIL, Error, Disabled
	states map[string]string // status of each API and of each kind of data
}

// entry matches a line of the summary, such as "  Blob get range................:       Pass".
var entry = regexp.MustCompile(`^  ([^.:]+)\.*: +(\S+)$`)

// conformance runs the suite against a registry. It ignores the exit status, because this version
// of the suite returns 0 for a wrong configuration, and panics after the summary in read-only mode.
func conformance(t *testing.T, registry string, settings ...string) summary {
	t.Helper()
	suite := tool(t, "conformance")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, suite)
	cmd.Dir = t.TempDir() // an empty directory, without a configuration file
	cmd.Env = append(bareEnv(cmd.Dir),
		"OCI_REGISTRY="+registry, "OCI_TLS=disabled", "OCI_RESULTS_DIR="+cmd.Dir)
	cmd.Env = append(cmd.Env, settings...)
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("the conformance suite did not end in time: %v\n%s", ctx.Err(), &stderr)
	}
	s := parseSummary(stdout.String())
	if s.result == "" {
		t.Fatalf("the conformance suite ended (error %v) without a result, want one:\n%s%s", err, &stdout, &stderr)
	}
	return s
}

// checkComplete fails the test unless the suite ran at least 1,000 tests, and all of them passed.
func (s summary) checkComplete(t *testing.T) {
	t.Helper()
	if passed := s.counts["Pass"]; s.result != "Pass" || passed != s.counts["Total"] || passed < 1000 {
		t.Errorf("the suite has the result %s and the counts %v, want at least 1,000 tests that all pass\n%s", s.result, s.counts, s.output)
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
			continue // skip the list of tests before the summary
		}
		if n, err := strconv.Atoi(m[2]); err == nil {
			s.counts[m[1]] = n
		} else {
			s.states[m[1]] = m[2]
		}
	}
	return s
}
