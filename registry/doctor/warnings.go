package doctor

import (
	"context"
	"net/http"
	"regexp"
	"strings"

	"github.com/layoutproxy/layoutproxy/layoutstore/problem"
)

// readWarnings reads the registry's warnings at the base of its API (distribution
// specification 1.1, "Warnings"). In them, layoutproxy lists the content that it cannot serve.
func (d *doctor) readWarnings(ctx context.Context) Step {
	a := d.api
	if a.code != http.StatusOK { // the first request was sent without the login that is required
		var err error
		if a, err = d.send(ctx, http.MethodGet, "", nil, maxErrorBody); err != nil {
			return failed("check the server's log", "GET /v2/: %v", err)
		}
	}
	var texts []string
	for _, value := range a.header.Values("Warning") {
		if text, ok := warningText(value); ok {
			texts = append(texts, text)
		}
	}
	if len(texts) == 0 {
		return ok("the registry reports no problem")
	}
	return warning("copy the files named here again; layoutproxy status lists all problems, and layoutproxy verify SOURCE finds damaged bytes", "%s", strings.Join(texts, "; "))
}

// warningText returns the text of a Warning header. ok is false if no registry wrote it.
func warningText(value string) (text string, ok bool) {
	m := regexp.MustCompile(`^299 - "((?:[^"\\]|\\.)*)"$`).FindStringSubmatch(value)
	if m == nil {
		return "", false
	}
	text = strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(m[1])
	return problem.Excerpt(text, 1000), true
}
